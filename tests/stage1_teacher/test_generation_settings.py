"""What a user can say about generating, and what is refused before anything is read."""

from pathlib import Path

import pytest

from schemas.errors import ConfigError, InputError
from stage1_teacher.generation_settings import GenerationSettings
from stage1_teacher.settings import DumpSettings


def settings(**given) -> DumpSettings:
    return DumpSettings(**{"teacher": "t", "corpus": "c", "out": "o", **given})


CHANGED = {
    "samples_per_prompt": 2,
    "sampling_temperature": 0.5,
    "top_p": 0.5,
    "stop": ["x"],
    "max_new_tokens": 9,
    "reasoning_template": "tags",
    "parser": "tags",
    "parser_argument": "a,b",
    "verifier": "exact",
    "verifier_argument": "x",
    "gold_column": "g",
    "keep": "all",
    "keep_truncated": True,
    "deduplicate": False,
    "similarity": 0.8,
}


def test_every_field_is_refused_without_generate() -> None:
    assert set(CHANGED) == set(GenerationSettings.model_fields) - {"generate"}
    for name, value in CHANGED.items():
        with pytest.raises(ConfigError, match=rf"^{name} is about responses.*--generate"):
            settings(**{name: value})


def test_without_generate_there_is_no_plan_and_no_column() -> None:
    assert settings().generation(100, 0) is None
    assert settings().capture().optional_columns == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samples_per_prompt": 2, "sampling_temperature": 0}, "the same response again"),
        ({"verifier": "math"}, "there is no parser"),
        ({"gold_column": "g"}, "nothing compares with it"),
        ({"keep": "accepted"}, "needs something that accepts"),
        ({"verifier_argument": "x"}, "there is no verifier"),
        ({"parser_argument": "x"}, "there is no parser"),
        ({"stop": [""]}, "an empty text"),
        ({"text_column": "t"}, "a text is no prompt to answer"),
        ({"response_column": "r"}, "the teacher writes the responses"),
    ],
)
def test_contradictions_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(generate=True, **given)


def test_what_is_kept_follows_from_the_verifier() -> None:
    def keep(**given) -> str:
        plan = settings(generate=True, **given).generation(100, 0)
        assert plan is not None
        return plan.keep

    assert keep() == "all"
    assert keep(parser="tags") == "all"
    assert keep(parser="tags", verifier="exact") == "accepted"
    assert keep(parser="tags", verifier="exact", keep="all") == "all"
    assert keep(parser="tags", keep="accepted") == "accepted"


def test_the_plan_holds_the_template_its_parser_and_the_seed() -> None:
    chosen = settings(generate=True, reasoning_template="boxed", verifier="math", stop=["\n\n"])
    plan = chosen.generation(4096, 7)
    assert plan is not None
    assert (plan.template, plan.parser, plan.verifier) == ("boxed", "boxed", "math")
    assert (plan.gold_column, plan.max_tokens, plan.seed, plan.stop) == ("gold", 512, 7, ["\n\n"])
    columns = ["prompt", "response", "rationale", "answer", "gold", "verdict", "finish_reason"]
    assert chosen.capture().optional_columns == [*columns, "provenance"]
    own = settings(generate=True, reasoning_template="boxed", parser="last_number")
    assert own.parser_name == "last_number"


def test_the_budget_leaves_room_for_the_prompt() -> None:
    plan = settings(generate=True).generation(300, 0)
    assert plan is not None
    assert plan.max_tokens == 150
    with pytest.raises(ConfigError, match="max_new_tokens 300 leaves no room"):
        settings(generate=True, max_new_tokens=300).generation(300, 0)


def test_a_system_prompt_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "system.txt"
    file.write_text("Be brief.\n")
    assert settings(system_prompt=f"@{file}").system_message() == "Be brief."
    assert settings(system_prompt="Be brief.").system_message() == "Be brief."
    file.write_text(" \n")
    with pytest.raises(InputError, match="is empty"):
        settings(system_prompt=f"@{file}").system_message()
    with pytest.raises(InputError, match="cannot be read"):
        settings(system_prompt="@nowhere.txt").system_message()
