"""Hidden states from a teacher through a dump and back: both codecs, both engines."""

from pathlib import Path

import numpy as np
import pytest

import potstill
from pipeline.dump_rows import Row
from tests.pipeline.command_line import potstill as command
from tests.tiny import tiny_teacher, write_rows

LAYERS = [0, 1, 2, "last"]
ROWS = [{"text": f"The river counts {i} stones and then {i * i} more. " * 4} for i in range(6)]


def dump(teacher: Path, out: Path, *words: str) -> list[Row]:
    corpus = write_rows(out.with_suffix(".jsonl"), ROWS)
    ran = command(
        *("dump", "--teacher", teacher, "--corpus", corpus, "--out", out, "--dtype", "float32"),
        *("--max-length", "128", "--unit-size", "4", "--hidden-layers", "last,2,0,1", *words),
    )
    assert ran.code == 0, ran.err
    assert potstill.verify(out).ok
    opened = potstill.open_dump(out)
    assert opened.manifest.capture.hidden_layers == ["0", "1", "2", "last"]
    return list(opened.rows(hidden=LAYERS))


def model_of(teacher: Path):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.float32)


def states_of(model, row: Row) -> tuple[np.ndarray, ...]:
    import torch

    with torch.inference_mode():
        ids = torch.from_numpy(row.input_ids.astype(np.int64))[None]
        found = model(ids, output_hidden_states=True).hidden_states
        return tuple(layer[0].numpy() for layer in found)


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean over tokens of the relative error."""
    lost = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return float(lost.mean())


@pytest.mark.parametrize(("codec", "bound"), [("int8", 0.02), ("bf16", 2**-8)])
def test_what_comes_back_is_what_transformers_gives(
    tmp_path: Path, codec: str, bound: float
) -> None:
    import torch

    teacher = tiny_teacher(tmp_path / "teacher")
    model = model_of(teacher)
    for row in dump(teacher, tmp_path / "dump", "--hidden-codec", codec):
        theirs = states_of(model, row)
        for layer, expected in ((0, theirs[0]), (1, theirs[1]), ("last", theirs[2])):
            assert error(row.hidden[layer], expected) < bound
        with torch.inference_mode():
            normed = model.model.norm(torch.from_numpy(row.hidden[2])).numpy()
        assert error(normed, row.hidden["last"]) < 2 * bound
        assert error(row.hidden[2], row.hidden["last"]) > 0.5


def test_a_projection_keeps_scalar_products(tmp_path: Path) -> None:
    teacher = tiny_teacher(tmp_path / "teacher", hidden_size=256, head_dim=64)
    model = model_of(teacher)
    for row in dump(teacher, tmp_path / "dump", "--hidden-projection", "128"):
        exact, narrow = states_of(model, row)[1], row.hidden[1] * np.sqrt(256 / 128)
        assert narrow.shape == (len(row.input_ids), 128)
        sizes = np.linalg.norm(exact, axis=1)
        cosines = (exact @ exact.T) / np.outer(sizes, sizes)
        found = (narrow @ narrow.T) / np.outer(sizes, sizes)
        assert np.abs(found - cosines).mean() < 1 / np.sqrt(128)


@pytest.mark.slow
def test_both_engines_store_the_same_states(tmp_path: Path) -> None:
    from tests.stage1_teacher.vllm_teachers import vllm_teacher

    teacher = vllm_teacher(tmp_path / "teacher")
    ours = dump(teacher, tmp_path / "transformers")
    theirs = dump(teacher, tmp_path / "vllm", "--engine", "vllm", "--enforce-eager")
    assert [row.id for row in ours] == [row.id for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for layer in LAYERS:
            assert one.hidden[layer].shape == other.hidden[layer].shape
            assert error(other.hidden[layer], one.hidden[layer]) < 0.02
