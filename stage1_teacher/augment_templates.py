"""How the teacher is asked for a new prompt: every bundled template on one screen.

A template is jinja with the variable `prompt`, a seed's text. What the teacher writes is begun for
it with `<prompt>`, so that even a small one writes the new prompt at once and not an introduction;
the template should say that the prompt ends with `</prompt>`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.manifest import digest

TEMPLATES = ("rephrase", "harder", "similar", "other_domain")
"""Bundled as augment_<name>.jinja."""

BEGIN, END = "<prompt>", "</prompt>"

_TRIAL = "a prompt to try"


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentTemplate:
    """A template that was read; `name` is the bundled one's, or the file's without its ending."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Over its text."""
        return digest(self.text)

    def render(self, prompt: str) -> str:
        """What the teacher is asked.

        Raises:
            ConfigError: the template is no jinja, or asks for something that there is not.
        """
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            return str(_environment().from_string(self.text).render(prompt=prompt)).strip()
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"the template {self.name}, line {error.lineno}: {error.message}. Correct it."
            ) from error
        except TemplateError as error:
            raise ConfigError(
                f"the template {self.name} cannot be filled in: {error}. It may use "
                "{{ prompt }} and nothing else."
            ) from error


def open_templates(names: Sequence[str]) -> list[AugmentTemplate]:
    """Bundled templates by name, others from files; each is tried out once.

    Raises:
        ConfigError: one of them does not exist, is no jinja or leaves the prompt out; or two of
            them have the same name.
    """
    templates = [_open(name) for name in names]
    found = [template.name for template in templates]
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two templates have the name {twice}. Rename one, or leave it out.")
    return templates


def new_prompt(written: str) -> str:
    """The prompt in what the teacher wrote after `<prompt>`."""
    return written.partition(END)[0].replace(BEGIN, "").strip()


def _open(name: str) -> AugmentTemplate:
    if name in TEMPLATES:
        text = files(__package__).joinpath(f"augment_{name}.jinja").read_text("utf-8")
        return AugmentTemplate(name=name, text=text)
    path = Path(name).expanduser()
    template = AugmentTemplate(name=path.stem, text=_read(name, path))
    if _TRIAL not in template.render(_TRIAL):
        raise ConfigError(
            f"the template {path} leaves the seed out. Write {{{{ prompt }}}} where it belongs."
        )
    return template


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        close = difflib.get_close_matches(name, TEMPLATES, n=1)
        advice = f"Did you mean {close[0]}?" if close else f"Give {', '.join(TEMPLATES)} or a file."
        raise ConfigError(f"no template {name!r}: {error}. {advice}") from error


def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined)
