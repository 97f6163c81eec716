"""From prompts to a student that learns to reason, on the command line, with both engines."""

import json
import math
import shutil
from pathlib import Path

import pytest

from schemas.dump_folder import open_dump
from schemas.manifest import digest
from tests.pipeline.command_line import Ran, potstill
from tests.tiny import tiny_teacher, write_rows

SPLIT = r"(?s)(?P<rationale>.+)(?P<answer>.{4})$"
"""A tiny teacher says nothing that has a form: its last four characters pass for an answer."""

ENGINES = [
    "transformers",
    pytest.param("vllm", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A teacher that both engines run, and word problems of a few words."""
    folder = tmp_path_factory.mktemp("generation")
    shape = {"head_dim": 32, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    tiny_teacher(folder / "teacher", **shape)
    rows = [{"id": f"r{i}", "prompt": f"Count {i} stones.", "gold": i} for i in range(6)]
    write_rows(folder / "problems.jsonl", rows)
    return folder


def generate(place: Path, engine: str, *words: object) -> Ran:
    options = ("--enforce-eager",) if engine == "vllm" else ()
    return potstill(
        *("dump", "--teacher", place / "teacher", "--corpus", place / "problems.jsonl"),
        *("--out", place / engine, "--engine", engine, *options, "--dtype", "float32"),
        *("--generate", "--max-length", "128", "--max-new-tokens", "16", "--unit-size", "4"),
        *("--parser", "regex", "--parser-argument", SPLIT, "--verifier", "numeric"),
        *("--sampling-temperature", "0", "--keep", "all", "--keep-truncated", "--json", *words),
    )


@pytest.fixture(scope="module", params=ENGINES)
def generated(request, place: Path) -> tuple[Path, dict]:
    if request.param == "vllm":
        pytest.importorskip("vllm", reason="vLLM is not installed")
    ran = generate(place, request.param)
    assert ran.code == 0, ran.err
    return place / request.param, ran.lines[-1]


def rows_of(dump: Path) -> list[dict]:
    found = open_dump(dump)
    return [row for s in found.shards for row in found.shard_file(s).read().to_pylist()]


def test_the_summary_counts_every_response(generated: tuple[Path, dict]) -> None:
    _, done = generated
    counts = done["generation"]
    assert (counts["generated"], counts["kept"], done["rows"]) == (6, 6, 6)
    judged = ("accepted", "rejected", "unverifiable", "unparsed")
    assert sum(counts[name] for name in judged) == 6
    assert counts["acceptance"] == counts["accepted"] / 6


def test_the_dump_is_whole_and_shows_its_answers(generated: tuple[Path, dict]) -> None:
    dump, _ = generated
    assert potstill("verify", dump, "--json").lines[-1]["ok"]
    summary = potstill("inspect", dump, "--json").lines[0]
    assert summary["generation"]["verifier"] == "numeric"
    assert summary["responses"]["generated"] == 6
    row = rows_of(dump)[0]
    shown = potstill("inspect", dump, "--id", "r0", "--json").lines[0]
    assert shown["texts"]["answer"] == row["answer"]
    assert {t["kind"] for t in shown["tokens"]} >= {"prompt", "rationale", "answer"}
    page = potstill("inspect", dump, "--id", "r0").out
    for words in ("finish_reason", "verdict", "gold", "rationale"):
        assert words in page


def test_python_gives_what_was_written_and_compared(generated: tuple[Path, dict]) -> None:
    from potstill import open_dump as opened

    row = next(iter(opened(generated[0]).rows()))
    assert row.texts["prompt"] == "Count 0 stones."
    assert row.texts["verdict"] in (True, False, None)
    assert str(row.texts["response"]).endswith(str(row.texts["answer"]))


def test_counts_that_are_not_the_rows_are_found_out(
    generated: tuple[Path, dict], tmp_path: Path
) -> None:
    dump = shutil.copytree(generated[0], tmp_path / "dump")
    manifest = json.loads((dump / "manifest.json").read_text())
    manifest["shards"][0]["generation"]["kept"] += 1
    del manifest["identity"]
    altered = {**manifest, "identity": digest(manifest)}
    (dump / "manifest.json").write_text(json.dumps(altered))
    ran = potstill("verify", dump)
    assert ran.code == 1
    assert "responses kept 4; found 3" in ran.out + ran.err


def test_both_engines_write_the_same_rows(generated: tuple[Path, dict], place: Path) -> None:
    """Greedy and in float32, so even the words are the same."""
    dump, _ = generated
    if not (place / "transformers").is_dir():
        assert generate(place, "transformers").code == 0
    ours, theirs = rows_of(dump), rows_of(place / "transformers")
    assert [set(row) for row in ours] == [set(row) for row in theirs]
    same = ("id", "input_ids", "segments", "captured", "response", "answer", "finish_reason")
    for one, other in zip(ours, theirs, strict=True):
        assert {name: one[name] for name in same} == {name: other[name] for name in same}
        assert one["token_logprobs"] == pytest.approx(other["token_logprobs"], abs=1e-3)


@pytest.mark.parametrize("kind", ["rationale", "answer"])
def test_a_student_learns_what_it_is_asked_to(
    generated: tuple[Path, dict], place: Path, tmp_path: Path, kind: str
) -> None:
    dump, _ = generated
    ran = potstill(
        *("train", "--dump", dump, "--student", place / "teacher", "--out", tmp_path / "student"),
        *("--steps", "2", "--batch-size", "6", "--train-on", kind, "--holdout", "0"),
        *("--log-steps", "1", "--json"),
    )
    assert ran.code == 0, ran.err
    lines = (tmp_path / "student" / "train_log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[0] == pytest.approx(0, abs=0.05), "the student is the teacher"


def test_a_parser_that_never_matches_is_no_silence(place: Path) -> None:
    ran = potstill(
        *("dump", "--teacher", place / "teacher", "--corpus", place / "problems.jsonl"),
        *("--out", place / "nothing", "--generate", "--max-length", "128", "--limit", "2"),
        *("--max-new-tokens", "4", "--keep-truncated", "--dtype", "float32"),
        *("--reasoning-template", "boxed", "--verifier", "math"),
    )
    assert ran.code == 4
    assert "2 written, 0 kept" in ran.out
    assert "2 unparsed" in ran.out
    assert "no response was kept" in ran.err
    assert potstill("inspect", place / "nothing").code == 0
    assert potstill("verify", place / "nothing").code == 0
    trained = potstill(
        *("train", "--dump", place / "nothing", "--student", place / "teacher", "--out", "x"),
        *("--steps", "1"),
    )
    assert trained.code == 2
