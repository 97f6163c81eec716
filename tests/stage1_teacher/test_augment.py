"""New prompts from old ones: where they came from, and what the teacher makes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.errors import CorpusError
from stage1_teacher import augment_preparation
from stage1_teacher.augment import AugmentSummary, augment
from stage1_teacher.augment_settings import AugmentSettings
from stage1_teacher.augment_templates import open_templates
from stage1_teacher.run import dump
from stage1_teacher.settings import DumpSettings
from stage1_teacher.tokenizer import load_tokenizer
from tests.stage1_teacher.augmenting import SEEDS, ScriptedEngine, echo, rows_of, settings_of
from tests.tiny import tiny_teacher, write_rows


def test_rows_say_where_they_came_from(
    augment_teacher: Path, tmp_path: Path, scripted_augment: Callable[..., ScriptedEngine]
) -> None:
    scripted_augment(echo)
    done = augment(settings_of(augment_teacher, tmp_path, seed=7, similarity=1.0))
    rows = rows_of(done.path)
    assert [row["id"] for row in rows[:4]] == ["apples+one", "apples+two", "sea+one", "sea+two"]
    assert rows[0]["prompt"] == "ONE ?eh sah ynam woH .erom 4 syub dna selppa 3 sah moT"
    assert [row["source"] for row in rows[1:3]] == ["seeds+two", "poems+one"]
    first = rows[0]
    assert (first["seed"], first["template"], first["variant"]) == ("apples", "one", 0)
    assert (first["teacher"], first["sampling_seed"]) == (augment_teacher.name, 7)
    assert first["teacher_weights"].startswith("sha256:")
    assert first["template_sha256"] == open_templates([str(tmp_path / "one.jinja")])[0].sha256
    assert len(rows) == done.written == 6
    assert done.written_by_template == {"one": 3, "two": 3}
    assert done.rejected["seed_too_long"] == 2
    assert done.asked == 8


def written_by(question: str) -> str:
    if "apples" in question:
        return "Tom has 3 apples and buys 4 more. How many has  HE?</prompt>"
    if "two: " in question:
        return "Write a poem about the mountains.</prompt>"
    return {"sea": "...</prompt>", "France": "What is the capital of Spain"}[
        "sea" if "sea" in question else "France"
    ]


def test_everything_that_is_left_out_is_counted_with_its_reason(
    augment_teacher: Path, tmp_path: Path, scripted_augment: Callable[..., ScriptedEngine]
) -> None:
    scripted_augment(written_by)
    done = augment(settings_of(augment_teacher, tmp_path))
    assert done.rejected == {
        "seed_too_long": 2,
        "empty": 1,
        "cut": 1,
        "too_long": 0,
        "near_seed": 2,
        "near_new": 1,
    }
    assert [row["prompt"] for row in rows_of(done.path)] == ["Write a poem about the mountains."]
    assert done.asked == done.written + sum(done.rejected.values())


def test_prompts_that_are_too_long_are_left_out(
    augment_teacher: Path, tmp_path: Path, scripted_augment: Callable[..., ScriptedEngine]
) -> None:
    scripted_augment(echo)
    done = augment(settings_of(augment_teacher, tmp_path, max_prompt_tokens=35))
    assert done.rejected["too_long"] == 2
    assert {row["seed"] for row in rows_of(done.path)} & {"apples"} == set()


def test_a_conversation_without_a_user_is_no_seed(
    augment_teacher: Path, tmp_path: Path, scripted_augment: Callable[..., ScriptedEngine]
) -> None:
    scripted_augment(echo)
    write_rows(tmp_path / "seeds.jsonl", [{"messages": [{"role": "system", "content": "Be."}]}])
    with pytest.raises(CorpusError, match=r"seeds\.jsonl, line 1: the user says nothing"):
        augment(settings_of(augment_teacher, tmp_path))


def with_the_tiny_teacher(
    augment_teacher: Path, folder: Path, name: str, **changed: Any
) -> AugmentSummary:
    return augment(
        settings_of(
            augment_teacher, folder, out=str(folder / name), variants=6, top_p=1.0, **changed
        )
    )


def test_the_same_seed_writes_the_same_prompts(augment_teacher: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampling_temperature": 3.0, "max_new_tokens": 200, "limit": 3}
    first = with_the_tiny_teacher(augment_teacher, tmp_path, "a.jsonl", **options)
    second = with_the_tiny_teacher(augment_teacher, tmp_path, "b.jsonl", **options)
    third = with_the_tiny_teacher(augment_teacher, tmp_path, "c.jsonl", seed=1, **options)
    assert Path(first.path).read_bytes() == Path(second.path).read_bytes()
    assert Path(first.path).read_bytes() != Path(third.path).read_bytes()
    assert first.written > 0
    assert first.asked == 36 == first.written + sum(first.rejected.values())
    number = {row["variant"] for row in rows_of(first.path)}
    assert len(number) > 1


def test_a_base_model_is_asked_in_plain_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_teacher(tmp_path / "base", chat_template=None, bos=True)
    engine = ScriptedEngine(load_tokenizer(base), lambda q: f"{q[::-1]}</prompt>")
    monkeypatch.setitem(augment_preparation.ENGINES, "transformers", lambda _: engine)
    done = augment(settings_of(base, tmp_path, limit=1, max_prompt_tokens=200))
    assert rows_of(done.path)[0]["prompt"].endswith(":eno>s<")


def test_the_teacher_answers_its_own_prompts_and_the_dump_says_where_they_came_from(
    augment_teacher: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        engine = ScriptedEngine(load_tokenizer(augment_teacher), echo)
        patched.setitem(augment_preparation.ENGINES, "transformers", lambda _: engine)
        new = augment(settings_of(augment_teacher, tmp_path, limit=2, similarity=1.0))
    settings = DumpSettings(
        teacher=str(augment_teacher),
        corpus=new.path,
        out=str(tmp_path / "dump"),
        dtype="float32",
        license="unknown",
        generate=True,
        keep_truncated=True,
        max_new_tokens=8,
    )
    dump(settings)
    shards = sorted((tmp_path / "dump" / "data").iterdir())
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    assert [row["id"] for row in rows] == ["apples+one", "apples+two", "sea+one", "sea+two"]
    assert [row["source"] for row in rows] == ["seeds+one", "seeds+two", "poems+one", "poems+two"]
    origin = json.loads(rows[0]["provenance"])["corpus"]
    assert (origin["seed"], origin["template"], origin["teacher"]) == (
        "apples",
        "one",
        augment_teacher.name,
    )
    assert all(row["response"] for row in rows)


@pytest.mark.slow
def test_the_real_teacher_writes_prompts(real_teacher: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "seeds.jsonl", SEEDS[:1])
    out = str(tmp_path / "new.jsonl.zst")
    done = augment(
        AugmentSettings(
            teacher=str(real_teacher),
            corpus=str(tmp_path / "seeds.jsonl"),
            out=out,
            dtype="float32",
            templates=["rephrase", "similar"],
            max_new_tokens=48,
        )
    )
    rows = rows_of(out)
    assert len(rows) == done.written > 0
    assert all(len(row["prompt"].split()) > 2 and "<prompt>" not in row["prompt"] for row in rows)
