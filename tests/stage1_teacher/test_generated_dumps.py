"""Dumps of responses as a whole: their cards, previews and samples, and what they refuse."""

import datasets
import numpy as np
import pytest

from schemas.errors import ConfigError, CorpusError
from schemas.verify import verify
from stage1_teacher.dump_estimate import check
from stage1_teacher.engine_transformers import TransformersEngine
from stage1_teacher.preview import preview
from stage1_teacher.run import dump
from stage1_teacher.settings import DumpSettings
from tests.stage1_teacher.generated_dumps import REASONED, ROWS, rows_of, settings


def test_load_dataset_reads_responses_and_empty_shards(
    teacher, scripted, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    rows = [ROWS[i] for i in (1, 3, 0, 2)]  # the first unit is all wrong
    scripted(settings(teacher, tmp_path, rows, **REASONED, unit_size=2))
    found = datasets.load_dataset(
        str(tmp_path / "dump"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert found["id"][:] == ["r0", "r2"]
    assert found["verdict"][:] == [True, True]
    assert found["answer"][:] == ["1", "3"]


@pytest.mark.parametrize("script", [lambda id: "No idea.", lambda id: "<think>Hm…"])
def test_a_dump_that_keeps_nothing_is_whole_and_says_so(
    teacher, scripted, tmp_path, script
) -> None:
    done, _ = scripted(settings(teacher, tmp_path, **REASONED), script)
    assert (done.rows, done.tokens, done.generation.kept) == (0, 0, 0)
    assert done.generation.unparsed + done.generation.truncated == 8
    assert verify(str(tmp_path / "dump")).ok
    card = (tmp_path / "dump" / "README.md").read_text()
    assert "**0.0%**: 0 of 8 responses" in card


def test_the_card_says_how_responses_were_written(teacher, scripted, tmp_path) -> None:
    plan = {**REASONED, "samples_per_prompt": 2, "sampling_temperature": 0.7, "keep": "all"}
    scripted(settings(teacher, tmp_path, **plan))
    card = (tmp_path / "dump" / "README.md").read_text()
    for words in (
        "problems as t answered it",
        "| responses per prompt | 2, of at most 125 tokens |",
        "temperature 0.7, top-p 1.0, seed 0",
        "| reasoning template | tags,",
        "| verifier | numeric, against `gold` |",
        "**50.0%**: 8 of 16 responses",
        "outputs of the teacher",
    ):
        assert words in card, words


def test_a_dump_of_the_teachers_own_words_and_what_it_thought_of_them(
    teacher, tmp_path, monkeypatch
) -> None:
    """The real engine, killed after the first unit and run again: the same rows as in one go."""
    split = {"parser": "regex", "parser_argument": "(?s)(?P<rationale>.+)(?P<answer>.{3})$"}
    plan = {**split, "samples_per_prompt": 2, "keep_truncated": True, "max_new_tokens": 8}
    plan |= {"limit": 4, "unit_size": 2}
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    dump(settings(teacher, tmp_path / "whole", **plan))
    resumed = settings(teacher, tmp_path / "resumed", **plan)
    real, seen = TransformersEngine.generate, []

    def once(self, *arguments):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        yield from real(self, *arguments)

    monkeypatch.setattr(TransformersEngine, "generate", once)
    with pytest.raises(BaseException, match="stopped on request"):
        dump(resumed)
    monkeypatch.undo()
    done = dump(resumed)
    assert 0 < done.units_done < done.units
    assert rows_of(tmp_path / "resumed") == rows_of(tmp_path / "whole")
    assert verify(str(tmp_path / "resumed" / "dump")).ok
    kinds = {s["kind"] for row in rows_of(tmp_path / "whole") for s in row["segments"]}
    assert {"rationale", "answer"} <= kinds


def test_prompts_are_previewed_and_estimated_without_an_engine(teacher, tmp_path) -> None:
    chosen = settings(teacher, tmp_path, **REASONED, samples_per_prompt=2, limit=4)
    first = preview(chosen, 2)[0]
    shown = "".join(span.text for span in first.spans)
    assert "What is 0 + 1?\n\nThink first" in shown
    assert shown.endswith("assistant\n")
    assert (first.positions, first.to_write) == (0, min(125, 250 - first.tokens))
    assert first.to_write < 125
    found = check(chosen)
    assert found.most
    assert (found.sequences, found.units) == (8, 2)
    budget = sum(min(125, 250 - s.tokens) for s in preview(chosen, 4))
    assert found.positions == 2 * budget


@pytest.mark.parametrize(
    ("row", "given", "message"),
    [
        ({"text": "a"}, {}, r"no column `prompt` or `messages` .*; found `text`.*--prompt-column"),
        ({"prompts": "a"}, {}, "Did you mean --prompt-column prompts"),
        ({"prompt": "a"}, REASONED, "no column `gold`.*--gold-column"),
        ({"prompt": "a", "gold": ""}, REASONED, "`gold` is empty"),
        ({"prompt": "a", "gold": [1]}, REASONED, "`gold` must be text or a number"),
        (
            {"messages": [{"role": "assistant", "content": "Hi"}]},
            {},
            "no turn before its answer",
        ),
    ],
)
def test_rows_that_cannot_be_answered_are_refused(teacher, tmp_path, row, given, message) -> None:
    with pytest.raises(CorpusError, match=f"(?s)problems.jsonl, line 1.*{message}"):
        dump(settings(teacher, tmp_path, [row], **given))


def test_what_cannot_work_is_said_before_the_teacher_is_loaded(teacher, tmp_path) -> None:
    for given, message in (
        ({"max_new_tokens": 250}, "max_new_tokens 250 leaves no room"),
        ({"parser": "regx"}, "Did you mean regex"),
        ({"parser": "tags", "verifier": "nummeric"}, "Did you mean numeric"),
        ({"parser": "regex"}, "needs a regular expression"),
        ({"system_prompt": "x", "chat_template": "none"}, "needs a chat template"),
    ):
        with pytest.raises(ConfigError, match=message):
            check(settings(teacher, tmp_path, **given))


def test_sampling_is_by_the_rows_id_only(teacher, tmp_path) -> None:
    """Other neighbours, another unit: the same response."""
    (tmp_path / "all").mkdir(), (tmp_path / "one").mkdir()
    plan = {"keep_truncated": True, "max_new_tokens": 8}
    dump(settings(teacher, tmp_path / "all", **plan))
    dump(settings(teacher, tmp_path / "one", ROWS[5:6], **plan))
    (alone,) = rows_of(tmp_path / "one")
    beside = rows_of(tmp_path / "all")[5]
    assert alone["input_ids"] == beside["input_ids"]
    np.testing.assert_allclose(alone["token_logprobs"], beside["token_logprobs"], atol=1e-4)


def test_replacing_the_seed_changes_what_is_written(teacher, tmp_path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    plan = {"keep_truncated": True, "max_new_tokens": 12, "limit": 2}
    one = settings(teacher, tmp_path / "a", **plan)
    dump(one)
    dump(replace_seed(one, str(tmp_path / "b" / "dump")))
    texts = [[row["response"] for row in rows_of(tmp_path / name)] for name in "ab"]
    assert texts[0] != texts[1]


def replace_seed(chosen: DumpSettings, out: str) -> DumpSettings:
    return chosen.model_copy(update={"seed": 1, "out": out})
