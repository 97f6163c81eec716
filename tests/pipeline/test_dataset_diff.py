"""Two dumps beside each other: settings, rows by id, and the teachers over the same rows."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset_diff import Difference, diff
from pipeline.dataset_merge import merge
from pipeline.dataset_reshard import reshard
from pipeline.dataset_settings import (
    DiffSettings,
    MergeSettings,
    ReshardSettings,
    SubsetSettings,
)
from pipeline.dataset_subset import subset
from schemas.manifest import Capture
from stage1_teacher.samples import Signals
from tests import dumps
from tests.dumps import make_settings, write_dump
from tests.pipeline.command_line import potstill


def compared(a: Path, b: Path) -> Difference:
    return diff(DiffSettings(dumps=[str(a), str(b)]))


def test_a_dump_is_the_same_in_other_shards(tmp_path: Path) -> None:
    write_dump(tmp_path / "a", count=20)
    reshard(ReshardSettings(dump=str(tmp_path / "a"), out=str(tmp_path / "b")))
    found = compared(tmp_path / "a", tmp_path / "b")
    assert found.same and found.same_rows == 20 and found.teachers is not None
    assert found.teachers.kl == 0 and found.teachers.top1_agreement == 1
    ran = potstill("dataset", "diff", tmp_path / "a", tmp_path / "b")
    assert ran.code == 0 and "the same rows and numbers" in ran.out


def test_two_dumps_are_asked_for(tmp_path: Path) -> None:
    for count in (1, 3):
        ran = potstill("dataset", "diff", *(f"dump{number}" for number in range(count)))
        assert ran.code == 2 and f"a diff compares two dumps; found {count}: dump0" in ran.err


def test_rows_are_matched_by_id_wherever_they_stand(tmp_path: Path) -> None:
    for number in (0, 1, 2):
        write_dump(tmp_path / f"d{number}", count=12, seed=number)
    for name, order in (("ab", (0, 1)), ("ca", (2, 0))):
        words = [str(tmp_path / f"d{number}") for number in order]
        merge(MergeSettings(dumps=words, out=str(tmp_path / name)))
    found = compared(tmp_path / "ab", tmp_path / "ca")
    assert (found.same_rows, found.only_a, found.only_b, found.other_tokens) == (12, 12, 12, 0)
    assert found.teachers is not None and found.teachers.same
    assert not found.same
    assert potstill("dataset", "diff", tmp_path / "ab", tmp_path / "ca").code == 1


def test_the_same_ids_with_other_tokens(tmp_path: Path) -> None:
    write_dump(tmp_path / "a", count=8)
    write_dump(tmp_path / "b", count=8, longest=30)
    found = compared(tmp_path / "a", tmp_path / "b")
    assert found.same_rows + found.other_tokens == 8 and found.other_tokens >= 7


def test_kl_between_teachers_is_that_of_their_dense_logits(tmp_path, monkeypatch) -> None:
    """With every entry kept there is nothing coarse about it."""
    capture = Capture(top_k=64, min_prob=None, tail_samples=0)
    a = write_dump(tmp_path / "a", count=6, capture=capture)
    real = dumps.capture_twin
    noise = {}

    def other(sample, logits, policy, seed) -> Signals:
        rng = np.random.default_rng(len(noise))
        noise[sample.id] = logits + 0.5 * rng.standard_normal(logits.shape).astype(np.float32)
        return real(sample, noise[sample.id], policy, seed)

    monkeypatch.setattr(dumps, "capture_twin", other)
    settings = make_settings(capture, rows=6)
    teacher = settings.teacher.model_copy(update={"name": "other"})
    write_dump(tmp_path / "b", count=6, settings=settings.model_copy(update={"teacher": teacher}))
    found = compared(tmp_path / "a", tmp_path / "b")
    assert found.settings == ("teacher.name: synthetic here, other there",)
    expected, agreement = [], []
    for name, sample in a.samples.items():
        p, q = (_softmax(x[name][sample.positions]) for x in (a.logits, noise))
        expected += (p * np.log(p / q)).sum(1).tolist()
        agreement += (p.argmax(1) == q.argmax(1)).tolist()
    assert found.teachers is not None
    assert found.teachers.positions == len(expected)
    assert found.teachers.kl == pytest.approx(np.mean(expected), rel=0.02)
    assert found.teachers.top1_agreement == pytest.approx(np.mean(agreement), abs=0.03)
    assert found.teachers.mean_logprob_difference > 0.1


def test_a_smaller_policy_is_the_same_teacher(tmp_path: Path) -> None:
    write_dump(tmp_path / "a", count=12)
    subset(SubsetSettings(dump=str(tmp_path / "a"), out=str(tmp_path / "s"), share=0.5))
    found = compared(tmp_path / "s", tmp_path / "a")
    assert found.only_a == 0 and 0 < found.only_b < 12 and found.settings == ()
    assert found.teachers is not None and found.teachers.same


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)
