"""Templates and settings of augmenting, and those that are refused."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from stage1_teacher.augment import augment
from stage1_teacher.augment_requests import request_id
from stage1_teacher.augment_settings import AugmentSettings
from stage1_teacher.augment_templates import TEMPLATES, new_prompt, open_templates
from tests.stage1_teacher.augmenting import settings_of


def test_ids_name_variants_only_where_there_are_several() -> None:
    assert request_id("a", "harder", 0, 1) == "a+harder"
    assert request_id("a", "harder", 2, 3) == "a+harder2"


@pytest.mark.parametrize(
    ("written", "prompt"),
    [
        (" Count. </prompt> Sure", "Count."),
        ("Count.", "Count."),
        ("<prompt>\nCount.</prompt>", "Count."),
        ("</prompt>", ""),
    ],
)
def test_the_new_prompt_ends_at_its_tag(written: str, prompt: str) -> None:
    assert new_prompt(written) == prompt


def test_bundled_templates_hold_the_seed_and_ask_for_the_tags() -> None:
    for template in open_templates(TEMPLATES):
        question = template.render("How many {{ apples }}?")
        assert question.count("How many {{ apples }}?") == 1
        assert "between <prompt> and </prompt>" in question
        assert question.count("<prompt>") == question.count("</prompt>") > 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (None, ["no template", "rephrase, harder"]),
        ("no place", ["leaves the seed out", "{{ prompt }}"]),
        ("{{ prompt }} {{ answer }}", ["'answer' is undefined"]),
        ("{{ prompt", ["line 1"]),
        ("{{ prompt.__class__.__mro__ }}", ["unsafe"]),
    ],
)
def test_a_wrong_template_is_refused(text: str | None, parts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        open_templates([str(file)])
    assert all(part in str(refused.value) for part in parts), refused.value


def test_two_templates_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "harder.jinja").write_text("{{ prompt }}")
    with pytest.raises(ConfigError, match="two templates have the name harder"):
        open_templates(["harder", str(tmp_path / "harder.jinja")])
    with pytest.raises(ConfigError, match="Did you mean harder"):
        open_templates(["hardr"])


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"out": "new.json"}, "ends in .jsonl or .jsonl.zst"),
        ({"out": "s3://bucket/new.jsonl"}, "local file"),
        ({"variants": 2, "sampling_temperature": 0}, "would all be the same"),
        ({"engine_mode": "compat"}, "option of vLLM"),
    ],
)
def test_settings_that_contradict_are_refused(changed: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        AugmentSettings(**{"teacher": "t", "corpus": "c", "out": "o.jsonl", **changed})


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"max_length": 1000}, "longer than the teacher's context of 512"),
        ({"max_new_tokens": 512}, "leaves no room for a seed"),
        ({"engine": "transfomers"}, "Did you mean transformers"),
    ],
)
def test_settings_that_do_not_fit_the_teacher_are_refused(
    changed: dict[str, Any], part: str, augment_teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=part):
        augment(settings_of(augment_teacher, tmp_path, **changed))
