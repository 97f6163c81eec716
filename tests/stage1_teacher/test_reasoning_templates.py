"""Templates ask for reasoning in a form that the parser of the same name understands."""

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from stage1_teacher.answer_parsers import PARSERS
from stage1_teacher.reasoning_templates import TEMPLATES, open_template


@pytest.mark.parametrize("name", TEMPLATES)
def test_bundled_templates_have_a_parser_and_hold_the_prompt(name: str) -> None:
    found = open_template(name)
    assert found.parser == name
    assert name in PARSERS
    text = found.render("What is 2 {{ + }} 2?")
    assert text.startswith("What is 2 {{ + }} 2?\n\n"), "a prompt is data and never a template"
    assert found.sha256.startswith("sha256:")


def test_a_file_may_hold_examples(tmp_path: Path) -> None:
    file = tmp_path / "few.jinja"
    file.write_text("Q: 1 + 1?\nA: The answer is 2.\n\nQ: {{ prompt }}\nA:\n")
    found = open_template(str(file))
    assert (found.name, found.parser) == ("few.jinja", None)
    assert found.render("3 + 4?") == "Q: 1 + 1?\nA: The answer is 2.\n\nQ: 3 + 4?\nA:"
    other = tmp_path / "other.jinja"
    other.write_text("{{ prompt }}")
    assert open_template(str(other)).sha256 != found.sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ question }}", "'question' is undefined.*may use {{ prompt }}"),
        ("Always the same.", "leaves the prompt out"),
        ("{{ prompt }}\n{% if %}", "line 2"),
        ("{{ prompt.__class__.__mro__ }}", "leaves the prompt out|cannot be filled in"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.jinja"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        open_template(str(file))


def test_a_name_that_is_close_is_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean answer_is"):
        open_template("answer-is")
