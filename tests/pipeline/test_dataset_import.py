from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import potstill as api
from schemas.dump_folder import open_dump
from tests.pipeline.command_line import Ran, potstill
from tests.pipeline.foreign_layouts import (
    VOCABULARY,
    Truth,
    axolotl,
    axolotl_raw,
    distillkit,
    megatron,
)
from tests.tiny import tiny_tokenizer

UNKNOWN = ("--license", "unknown", "--json")


def imported(path: Path, out: Path, *words: object) -> Ran:
    ran = potstill("dataset", "import", path, "--out", out, *UNKNOWN, *words)
    assert ran.code == 0, ran.err
    assert potstill("verify", out).code == 0
    return ran


def check_rows(out: Path, truth: Truth, atol: float, first: int = 0) -> None:
    """Every entry is the truth's, at the position that it belongs to."""
    rows = list(api.open_dump(out).rows())
    assert len(rows) == len(truth.tokens)
    by_tokens = dict(zip(map(tuple, truth.tokens), truth.logprobs, strict=True))
    for row in rows:
        exact = by_tokens[tuple(row.input_ids)]
        assert row.positions.tolist() == list(range(first, len(row.input_ids) - 1))
        for position, ids, logprobs in zip(
            row.positions, row.topk_ids, row.topk_logprobs, strict=True
        ):
            np.testing.assert_allclose(logprobs, exact[position][ids], atol=atol)
            assert exact[position][ids[0]] >= exact[position].max() - atol


LAYOUTS = {
    "distillkit": (lambda p, t: (distillkit(p / "in", t), ()), 0.2, 0),
    "axolotl": (lambda p, t: (axolotl(p / "in.jsonl", t), ()), 0.2, 0),
    "axolotl raw": (lambda p, t: (axolotl_raw(p / "in.jsonl", t), ()), 0.2, 5),
    "megatron": (lambda p, t: with_tokens(megatron(p / "in", t)), 0.2, 0),
}


def with_tokens(made):
    folder, tokens = made
    return folder, ("--tokens", tokens)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognised_and_converted(layout: str, tmp_path: Path) -> None:
    make, atol, first = LAYOUTS[layout]
    truth = Truth(fixed=layout == "megatron")
    path, words = make(tmp_path, truth)
    (*_, done) = imported(path, tmp_path / "dump", *words, "--head-size", VOCABULARY).lines
    assert done["layout"] == layout.split(maxsplit=1)[0]
    assert done["health"]["shift"] == 0 and 0.9 < done["health"]["mean_mass"] < 1
    check_rows(tmp_path / "dump", truth, atol, first)
    manifest = open_dump(tmp_path / "dump").manifest
    assert manifest.tokenizer.head_size == VOCABULARY
    assert manifest.capture.tail_samples == 0 and manifest.capture.temperatures == [1.0]


@pytest.mark.parametrize("shift", [-1, 1])
def test_an_alignment_that_is_off_by_one_is_found_and_mended(shift: int, tmp_path: Path) -> None:
    truth = Truth()
    path = axolotl(tmp_path / "in.jsonl", truth, shift=-shift)
    (*_, done) = imported(path, tmp_path / "dump").lines
    assert done["health"]["shift"] == shift
    assert any("moved" in problem for problem in done["problems"])
    for row in api.open_dump(tmp_path / "dump").rows():
        exact = dict(zip(map(tuple, truth.tokens), truth.logprobs, strict=True))
        for position, ids in zip(row.positions, row.topk_ids, strict=True):
            assert ids[0] == exact[tuple(row.input_ids)][position].argmax()


def test_tokens_of_other_rows_are_refused(tmp_path: Path) -> None:
    truth, other = Truth(fixed=True), Truth(seed=9, fixed=True)
    path = distillkit(tmp_path / "in", truth, tokens=other.tokens)
    ran = potstill("dataset", "import", path, "--out", tmp_path / "dump", *UNKNOWN)
    assert ran.code == 1 and "at any shift" in ran.err and not (tmp_path / "dump").exists()


def test_what_is_not_healthy_is_said(tmp_path: Path) -> None:
    truth = Truth()
    truth.tokens = [np.concatenate([[1], t]) for t in truth.tokens]  # BOS twice
    truth.logprobs = [np.concatenate([p[:1], p]) for p in truth.logprobs]
    truth.logprobs = [p + 0.5 for p in truth.logprobs]  # adds up to more than one
    (*_, done) = imported(axolotl(tmp_path / "in.jsonl", truth), tmp_path / "dump").lines
    text = " ".join(done["problems"])
    for words in ("BOS twice", "more than one", "no tokenizer", "licence is not stated"):
        assert words in text
    assert done["health"]["double_bos"] == len(truth.tokens)


def test_with_a_tokenizer_a_student_can_be_trained(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    path = axolotl(tmp_path / "in.jsonl", Truth())
    words = ("--tokenizer", tmp_path / "tokenizer", "--teacher", "org/model")
    (*_, done) = imported(path, tmp_path / "dump", *words).lines
    assert not any("tokenizer" in problem for problem in done["problems"])
    manifest = open_dump(tmp_path / "dump").manifest
    assert manifest.teacher.name == "org/model" and manifest.tokenizer.size > 300
    assert (tmp_path / "dump" / "preview").exists()


def test_what_a_user_gets_wrong(tmp_path: Path) -> None:
    truth = Truth(fixed=True)
    rows = axolotl(tmp_path / "rows.jsonl", truth)
    logits, tokens = megatron(tmp_path / "tars", truth)
    np.save(tmp_path / "few.npy", np.load(tokens)[:3])
    (tmp_path / "strange.jsonl").write_text('{"text": "x"}\n')
    kit = distillkit(tmp_path / "kit", truth)
    (kit / "compression_config.yaml").unlink()
    (tmp_path / "empty").mkdir()
    out = tmp_path / "dump"
    for words, said in (
        ((rows, "--out", out), ["no layout of another system states licences", "--license"]),
        ((tmp_path / "strange.jsonl", "--out", out, *UNKNOWN), ["text", "target_logprobs"]),
        ((tmp_path / "empty", "--out", out, *UNKNOWN), ["nothing", ".parquet"]),
        ((tmp_path / "nowhere", "--out", out, *UNKNOWN), ["nothing"]),
        ((logits, "--out", out, *UNKNOWN), ["--tokens"]),
        ((logits, "--tokens", tmp_path / "few.npy", "--out", out, *UNKNOWN), ["after 3 samples"]),
        ((kit, "--out", out, *UNKNOWN), ["--compression-config"]),
        ((rows, "--head-size", 40, "--out", out, *UNKNOWN), ["40 logits"]),
    ):
        ran = potstill("dataset", "import", *words)
        assert ran.code == 2, (words, ran.err)
        assert all(word in ran.err for word in said), (said, ran.err)
    assert not out.exists()
    imported(rows, out)
    assert potstill("dataset", "import", rows, "--out", out, *UNKNOWN).code == 3


def test_axolotl_and_back_again(tmp_path: Path) -> None:
    truth = Truth()
    imported(axolotl(tmp_path / "in.jsonl", truth), tmp_path / "dump")
    file = tmp_path / "rows.parquet"
    ran = potstill("dataset", "export", tmp_path / "dump", "--to", "axolotl", "--out", file)
    assert ran.code == 0, ran.err
    row = pq.read_table(file).to_pylist()[0]
    assert len(row["target_logprobs"]) == len(row["input_ids"]) == len(row["labels"])
    assert row["labels"][0] == -100 and row["labels"][1:] == row["input_ids"][1:]
    imported(file, tmp_path / "again")
    check_rows(tmp_path / "again", truth, atol=0.35)
    assert potstill("dataset", "export", tmp_path / "dump", "--out", file).code == 3
