"""Prompts to rows: what stands in a row, what is held in memory, what an empty unit becomes."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest

from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, CorpusError, DamagedError
from schemas.verify import verify
from stage1_teacher import preparation
from stage1_teacher.dump_estimate import check
from stage1_teacher.engine_transformers import TransformersEngine
from stage1_teacher.preview import preview
from stage1_teacher.run import DumpSummary, dump
from stage1_teacher.settings import DumpSettings
from stage1_teacher.tokenizer import TeacherTokenizer, load_tokenizer
from tests.stage1_teacher.scripted_engine import ScriptedEngine
from tests.tiny import tiny_teacher, write_rows

ROWS = [{"id": f"r{i}", "prompt": f"What is {i} + 1?", "gold": i + 1} for i in range(8)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("teacher") / "t")


@pytest.fixture(scope="module")
def tokenizer(teacher: Path) -> TeacherTokenizer:
    return load_tokenizer(teacher)


def says(id: str) -> str:
    """Right for even rows, wrong for odd ones; the second sample of a row repeats the first."""
    number = int(id.removeprefix("r").split("/")[0])
    answer = number + 1 if number % 2 == 0 else 99
    return f"<think>Let us count.</think><answer>{answer}</answer>"


def settings(teacher: Path, folder: Path, rows=ROWS, **given) -> DumpSettings:
    corpus = write_rows(folder / "problems.jsonl", rows)
    fixed = {"generate": True, "dtype": "float32", "max_length": 250, "unit_size": 3}
    fixed |= {"license": "unknown"}
    fixed |= {"teacher": str(teacher), "corpus": str(corpus), "out": str(folder / "dump")}
    return DumpSettings(**{**fixed, **given})


@pytest.fixture
def scripted(monkeypatch, tokenizer):
    """Runs a dump with an engine that says what it is told."""

    def run(chosen: DumpSettings, script=says) -> tuple[DumpSummary, ScriptedEngine]:
        engine = ScriptedEngine(tokenizer=tokenizer, says=script)
        monkeypatch.setattr(preparation, "_engine", lambda *_: engine)
        return dump(chosen), engine

    return run


def rows_of(folder: Path) -> list[dict]:
    found = open_dump(folder / "dump")
    return [row for s in found.shards for row in found.shard_file(s).read().to_pylist()]


REASONED = {"reasoning_template": "tags", "verifier": "numeric"}


def test_a_row_says_what_was_asked_written_and_compared(
    teacher, tokenizer, scripted, tmp_path
) -> None:
    done, _ = scripted(settings(teacher, tmp_path, **REASONED, keep="all"))
    rows = rows_of(tmp_path)
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    first, second = rows[:2]
    assert first["prompt"] == "What is 0 + 1?"
    assert first["response"] == says("r0")
    assert (first["rationale"], first["answer"], first["gold"]) == ("Let us count.", "1", "1")
    assert (first["verdict"], second["verdict"]) == (True, False)
    assert first["finish_reason"] == "stop"
    assert json.loads(first["provenance"]) == {"row": "r0", "sample": 0, "compared": "1 = 1"}
    text = tokenizer.decode(first["input_ids"])
    assert text.startswith("<|im_start|>system\nYou are tiny.")
    assert "Write your reasoning, step by step, between <think> and </think>" in text
    assert text.endswith(f"<|im_start|>assistant\n{says('r0')}<|im_end|>")
    assert verify(str(tmp_path / "dump")).ok
    counts = done.generation
    assert (counts.generated, counts.accepted, counts.rejected, counts.kept) == (8, 4, 4, 8)


def test_segments_are_those_of_the_text(teacher, tokenizer, scripted, tmp_path) -> None:
    scripted(settings(teacher, tmp_path, **REASONED, keep="all"))
    row = rows_of(tmp_path)[0]
    read = {
        s["kind"]: tokenizer.decode(row["input_ids"][s["start"] : s["end"]])
        for s in row["segments"]
    }
    assert "Let us count." in read["rationale"]
    assert "1" in read["answer"]
    assert read["prompt"].startswith("What is 0 + 1?")
    assert read["template"].endswith("assistant\n")
    prompt_end = next(s["start"] for s in row["segments"] if s["kind"] == "response")
    assert row["captured"] == [{"start": prompt_end - 1, "end": len(row["input_ids"]) - 1}]
    assert len(row["topk_ids"]) == len(row["input_ids"]) - prompt_end


def test_only_accepted_ones_are_kept_and_an_empty_unit_commits(teacher, scripted, tmp_path) -> None:
    rows = [ROWS[i] for i in (0, 1, 2, 3, 5, 7, 4, 6)]  # unit 1 is all wrong
    done, _ = scripted(settings(teacher, tmp_path, rows, **REASONED, unit_size=3))
    found = open_dump(tmp_path / "dump")
    assert [shard.rows for shard in found.shards] == [1, 1, 2]
    assert [row["id"] for row in rows_of(tmp_path)] == ["r0", "r2", "r4", "r6"]
    assert (done.rows, done.generation.rejected) == (4, 4)


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


def test_samples_of_a_prompt_are_rows_and_repetitions_are_dropped(
    teacher, scripted, tmp_path
) -> None:
    def script(id: str) -> str:
        return says(id) + {"0": "", "1": "", "2": " Done."}[id[-1]]

    plan = {**REASONED, "samples_per_prompt": 3, "keep": "all"}
    done, engine = scripted(settings(teacher, tmp_path, **plan), script)
    ids = [row["id"] for row in rows_of(tmp_path)]
    assert ids[:4] == ["r0/s0", "r0/s2", "r1/s0", "r1/s2"]
    assert (done.generation.generated, done.generation.duplicates) == (24, 8)
    assert len({prompt.id for prompt in engine.asked}) == 24


def test_cut_responses_are_told_and_kept_only_when_asked_for(teacher, scripted, tmp_path) -> None:
    def script(id: str) -> str:
        return "I count and count…" if id == "r0" else says(id)

    plan = {**REASONED, "keep": "all"}
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    done, _ = scripted(settings(teacher, tmp_path / "a", **plan), script)
    assert (done.generation.truncated, done.rows) == (1, 7)
    kept, _ = scripted(settings(teacher, tmp_path / "b", **plan, keep_truncated=True), script)
    assert (kept.generation.truncated, kept.generation.unparsed, kept.rows) == (1, 1, 8)
    first = rows_of(tmp_path / "b")[0]
    assert (first["finish_reason"], first["verdict"], first["answer"]) == ("length", None, "")


def test_prompts_are_given_a_chunk_at_a_time(teacher, scripted, tmp_path) -> None:
    rows = [{"prompt": f"What is {i}?"} for i in range(40)]
    plan = {"unit_size": 40, "batch_tokens": 8, "max_new_tokens": 60}
    _, engine = scripted(settings(teacher, tmp_path, rows, **plan), lambda id: f"It is {id}.")
    assert 1 <= engine.most_prompts <= 4
    assert len(rows_of(tmp_path)) == 40


def test_an_engine_that_forgets_a_prompt_is_refused(teacher, tokenizer, monkeypatch, tmp_path):
    class Forgetful(ScriptedEngine):
        def generate(self, prompts, *policy):
            yield from list(super().generate(prompts, *policy))[1:]

    engine = Forgetful(tokenizer=tokenizer, says=says)
    monkeypatch.setattr(preparation, "_engine", lambda *_: engine)
    with pytest.raises(DamagedError, match="wrote 0 tokens after prompt"):
        dump(settings(teacher, tmp_path))


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


def test_a_prompt_that_fills_the_sequence_is_skipped_and_counted(
    teacher, scripted, tmp_path
) -> None:
    rows = [*ROWS[:2], {"id": "r2", "prompt": "long " * 250, "gold": 1}]
    done, _ = scripted(settings(teacher, tmp_path, rows))
    assert (done.rows, done.skipped) == (2, 1)


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


def test_a_conversations_last_answer_is_written_anew(
    teacher, tokenizer, scripted, tmp_path
) -> None:
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "How are you?"},
        {"role": "assistant", "content": "An old answer"},
    ]
    rows = [{"id": "r0", "messages": turns}]
    scripted(settings(teacher, tmp_path, rows, reasoning_template="answer_is", keep="all"))
    (row,) = rows_of(tmp_path)
    text = tokenizer.decode(row["input_ids"])
    assert "An old answer" not in text
    assert "user\nHello<|im_end|>" in text, "the template is put around the last turn only"
    assert "How are you?\n\nReason step by step." in text
    assert row["prompt"] == "How are you?"


def test_a_teacher_without_a_chat_template_goes_on_with_the_text(
    teacher, tokenizer, scripted, tmp_path
) -> None:
    plan = {"chat_template": "none"}
    scripted(settings(teacher, tmp_path, [{"id": "r0", "prompt": "2 + 2 ="}], **plan))
    (row,) = rows_of(tmp_path)
    assert tokenizer.decode(row["input_ids"]).startswith("2 + 2 =<think>")
    assert [s["kind"] for s in row["segments"]] == ["prompt", "response"]


def test_a_verifier_that_raises_is_a_counted_verdict(teacher, scripted, tmp_path) -> None:
    plan = {"reasoning_template": "tags", "verifier": "tests.stage1_teacher.bad_verifier:raises"}
    done, _ = scripted(settings(teacher, tmp_path, **plan, keep="all"))
    assert done.generation.unverifiable == 8
    assert "on purpose" in json.loads(rows_of(tmp_path)[0]["provenance"])["compared"]


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
