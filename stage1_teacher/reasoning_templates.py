"""What is put around a prompt so that a teacher shows its reasoning: every template on one screen.

A template is jinja with one variable, `prompt`. Files of users run in a sandbox, and a name that is
misspelt in them is an error, not an empty text.
"""

import difflib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.manifest import digest

TEMPLATES = ("answer_is", "boxed", "json", "tags")
"""Bundled as reasoning_<name>.jinja; the parser of the same name takes the responses apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningTemplate:
    """A template that was read.

    Attributes:
        name: of a bundled one, or the file's.
        text: jinja.
        parser: what takes its responses apart, or None where that is not known.
    """

    name: str
    text: str
    parser: str | None

    @property
    def sha256(self) -> str:
        """Over its text."""
        return digest(self.text)

    def render(self, prompt: str) -> str:
        """The text that the teacher gets in place of a prompt.

        Raises:
            ConfigError: the template asks for something that there is not.
        """
        from jinja2 import TemplateError

        try:
            return str(_compiled(self).render(prompt=prompt)).strip()
        except TemplateError as error:
            raise ConfigError(
                f"the reasoning template {self.name} cannot be filled in: {error}. It may use "
                "{{ prompt }} and nothing else."
            ) from error


def open_template(name: str) -> ReasoningTemplate:
    """A bundled template, or one from a file; it is tried out once.

    Raises:
        ConfigError: there is none of that name, or the file is no jinja, or leaves the prompt out.
    """
    if name in TEMPLATES:
        text = files(__package__).joinpath(f"reasoning_{name}.jinja").read_text("utf-8")
        return ReasoningTemplate(name=name, text=text, parser=name)
    path = Path(name).expanduser()
    found = ReasoningTemplate(name=path.name, text=_read(name, path), parser=None)
    if "a prompt to try" not in found.render("a prompt to try"):
        raise ConfigError(
            f"the reasoning template {path} leaves the prompt out. Write {{{{ prompt }}}} where "
            "it belongs."
        )
    return found


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        close = difflib.get_close_matches(name, TEMPLATES, n=1)
        advice = f"Did you mean {close[0]}?" if close else f"Give {', '.join(TEMPLATES)}, or a file"
        raise ConfigError(f"no reasoning template {name!r}: {error}. {advice}") from error


def _compiled(template: ReasoningTemplate) -> Any:
    from jinja2 import StrictUndefined, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    try:
        return environment.from_string(template.text)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"the reasoning template {template.name}, line {error.lineno}: {error.message}. "
            "Correct it."
        ) from error
