"""vLLM's engine with a real teacher, and in a whole dump."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.quickstart_corpus import corpus_lines
from schemas.manifest import Capture
from stage1_teacher.engine import EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine
from stage1_teacher.engine_vllm import VllmEngine
from stage1_teacher.run import dump
from stage1_teacher.samples import Sample, Signals
from stage1_teacher.settings import DumpSettings
from tests.capture_agreement import entries
from tests.stage1_teacher.vllm_teachers import OPTIONS, vllm_teacher
from tests.tiny import write_rows

pytestmark = pytest.mark.slow

TOP = Capture(min_prob=None, top_k=32, tail_samples=0)


def real_samples(teacher: Path, count: int = 6, length: int = 80) -> list[Sample]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(teacher)
    texts = (str(json.loads(line)) for line in corpus_lines())
    ids = (np.asarray(tokenizer(text)["input_ids"][:length], np.int32) for text in texts)
    return [
        Sample(
            id=f"s{index}",
            source="",
            input_ids=next(ids),
            segments=(),
            captured=((0, length - 1),),
        )
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def samples(real_teacher: Path) -> list[Sample]:
    return real_samples(real_teacher)


@pytest.fixture(scope="module")
def exact(real_teacher: Path, samples: list[Sample]) -> list[Signals]:
    """transformers in float32."""
    settings = EngineSettings(model=real_teacher, dtype="float32", device="cpu")
    return captured(TransformersEngine(settings), samples)


def captured(engine: VllmEngine | TransformersEngine, samples: list[Sample]) -> list[Signals]:
    found = dict(engine.capture(samples, TOP, seed=0))
    return [found[index] for index in range(len(samples))]


def vllm(teacher: Path, dtype: str) -> VllmEngine:
    return VllmEngine(
        EngineSettings(
            model=teacher,
            dtype=dtype,
            max_length=256,
            batch_tokens=200,
            options=OPTIONS,
        )
    )


def kept_shares(found: list[Signals], exact: list[Signals]) -> np.ndarray:
    """[P] which share of a position's kept ids is the same."""
    pairs = (
        (a, b)
        for x, y in zip(found, exact, strict=True)
        for a, b in zip(entries(x.topk), entries(y.topk), strict=True)
    )
    return np.array([len(set(a[0]) & set(b[0])) / len(b[0]) for a, b in pairs])


def differences(found: list[Signals], exact: list[Signals]) -> np.ndarray:
    pairs = zip(found, exact, strict=True)
    return np.concatenate([np.abs(x.token_logprobs - y.token_logprobs) for x, y in pairs])


def first_ids(signals: list[Signals]) -> np.ndarray:
    return np.concatenate([found.topk.ids[found.topk.offsets[:-1]] for found in signals])


def test_a_real_teacher_in_float32_is_that_of_transformers(
    real_teacher: Path, samples: list[Sample], exact: list[Signals]
) -> None:
    found = captured(vllm(real_teacher, "float32"), samples)
    assert differences(found, exact).max() <= 5e-4
    assert kept_shares(found, exact).mean() >= 0.999
    shifted = [np.roll(signals.token_logprobs, 1) for signals in exact]
    pairs = zip(found, shifted, strict=True)
    assert np.mean([np.abs(x.token_logprobs - y).mean() for x, y in pairs]) > 2


def test_a_real_teacher_in_bfloat16_is_near(
    real_teacher: Path, samples: list[Sample], exact: list[Signals]
) -> None:
    found = captured(vllm(real_teacher, "bfloat16"), samples)
    assert differences(found, exact).mean() <= 0.08
    assert (first_ids(found) == first_ids(exact)).mean() >= 0.95


def rows_of(dump: Path) -> list[dict]:
    tables = [pq.read_table(path) for path in sorted((dump / "data").glob("*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def dumped(folder: Path, engine: str, **options) -> list[dict]:
    settings = DumpSettings(
        teacher=str(folder / "teacher"),
        corpus=str(folder / "corpus.jsonl"),
        out=str(folder / engine),
        engine=engine,
        dtype="float32",
        license="unknown",
        max_length=128,
        unit_size=16,
        **options,
    )
    dump(settings)
    return rows_of(folder / engine)


def test_a_dump_with_a_beginning_of_text_is_that_of_transformers(tmp_path: Path) -> None:
    """The tokenizer puts <s> before a text; long texts are cut in windows as long as allowed."""
    vllm_teacher(tmp_path / "teacher", bos=True)
    rows = [{"text": f"The river counts {i} stones, and " + "more and " * 3 * i} for i in range(24)]
    write_rows(tmp_path / "corpus.jsonl", rows)
    ours = dumped(tmp_path, "vllm", enforce_eager=True)
    theirs = dumped(tmp_path, "transformers")
    assert len(ours) == len(theirs) > 24
    assert max(len(row["input_ids"]) for row in ours) == 128
    same = []
    for found, twin in zip(ours, theirs, strict=True):
        assert found["id"] == twin["id"]
        assert found["input_ids"] == twin["input_ids"]
        np.testing.assert_allclose(found["token_logprobs"], twin["token_logprobs"], atol=5e-4)
        same += [a == b for a, b in zip(found["topk_ids"], twin["topk_ids"], strict=True)]
    assert np.mean(same) >= 0.98
    assert sum(row["input_ids"][0] == 3 for row in ours) >= 24
