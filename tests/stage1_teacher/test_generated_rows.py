"""Prompts to rows: what stands in a row, what is held in memory, what an empty unit becomes."""

import json

import pytest

from schemas.dump_folder import open_dump
from schemas.errors import DamagedError
from schemas.verify import verify
from stage1_teacher import preparation
from stage1_teacher.run import dump
from tests.stage1_teacher.generated_dumps import REASONED, ROWS, rows_of, says, settings
from tests.stage1_teacher.scripted_engine import ScriptedEngine


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


def test_a_prompt_that_fills_the_sequence_is_skipped_and_counted(
    teacher, scripted, tmp_path
) -> None:
    rows = [*ROWS[:2], {"id": "r2", "prompt": "long " * 250, "gold": 1}]
    done, _ = scripted(settings(teacher, tmp_path, rows))
    assert (done.rows, done.skipped) == (2, 1)


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
