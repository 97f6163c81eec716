"""A smaller policy without the teacher: what the teacher itself would have given, or an estimate.

The twin is a dump of the same dense logits under the smaller policy.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.dataset_policy import Change, changed
from pipeline.dataset_reencode import reencode
from pipeline.dataset_settings import ReencodeSettings
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, InputError
from schemas.manifest import Capture
from stage1_teacher.hidden_policy import with_widths
from stage1_teacher.shard_tables import shard_table
from tests.capture_twin import capture_twin
from tests.dumps import VOCABULARY, Dump, hidden_policy, make_samples, write_dump
from tests.pipeline.datasets import rows_of, whole

OLD = Capture(top_k=48, min_prob=1 / 4096, tail_samples=32, temperatures=[1.0, 2.0])


def dump_of(path: Path, capture: Capture = OLD, **more: Any) -> Dump:
    return write_dump(path, count=16, capture=capture, sharpness=1.5, **more)


def small(dump: Dump, out: Path, **asked: Any) -> list[dict[str, Any]]:
    reencode(ReencodeSettings(dump=str(dump.path), out=str(out), **asked))
    assert whole(out)
    return rows_of(out)


@pytest.mark.parametrize(
    ("asked", "policy"),
    [
        ({"top_k": 8}, {"top_k": 8}),
        ({"min_prob": 1 / 64}, {"min_prob": 1 / 64}),
        ({"min_prob": 1 / 64, "top_k": 4}, {"min_prob": 1 / 64, "top_k": 4}),
        ({"top_k": 1, "temperatures": [1.0]}, {"top_k": 1, "temperatures": [1.0]}),
    ],
)
def test_it_is_nearly_what_the_teacher_would_have_given(tmp_path, asked, policy) -> None:
    dump = dump_of(tmp_path / "old")
    twin = dump_of(tmp_path / "twin", OLD.model_copy(update=policy))
    found, expected = small(dump, tmp_path / "new", **asked), rows_of(twin.path)
    assert [list(row) for row in found] == [list(row) for row in expected]
    for row, own in zip(found, expected, strict=True):
        assert row["input_ids"] == own["input_ids"]
        assert row["token_logprobs"] == own["token_logprobs"]
        for place, ids in enumerate(own["topk_ids"]):
            moved = set(ids) ^ set(row["topk_ids"][place])
            if moved:  # only what rounding may carry over the threshold
                exact = exact_shares(dump, row, place)[list(moved)]
                assert exact * 64 == pytest.approx(1, abs=0.05)
                continue
            assert row["topk_logits"][place] == own["topk_logits"][place]
            for name in own:
                if name.startswith("tail_logmass"):
                    assert row[name][place] == pytest.approx(own[name][place], abs=0.03), name


def exact_shares(dump: Dump, row: dict[str, Any], place: int) -> np.ndarray:
    position = dump.samples[row["id"]].positions[place]
    logits = dump.logits[row["id"]][position].astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum()


def test_positions_that_lose_nothing_are_not_touched(tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "old", rows_per_group=2)
    kept = {row["id"]: row for row in rows_of(dump.path)}
    for row in small(dump, tmp_path / "new", top_k=40):
        before = kept[row["id"]]
        for place, ids in enumerate(before["topk_ids"]):
            if len(ids) <= 40:
                assert all(
                    row[name][place] == before[name][place]
                    for name in row
                    if name.startswith(("topk", "tail"))
                )


def test_the_tail_sample_estimates_the_tail_without_bias() -> None:
    """Over dumps with other seeds every token of the tail is drawn S·p times in the mean."""
    old = Capture(top_k=24, min_prob=None, tail_samples=32, temperatures=[1.0])
    new = old.model_copy(update={"top_k": 4, "tail_samples": 16})
    (sample,) = make_samples(1, longest=8)
    logits = np.random.default_rng(3).standard_normal((len(sample.input_ids), VOCABULARY))
    repeats, sizes = 500, []
    counts = np.zeros(logits.shape)
    for seed in range(repeats):
        signals = capture_twin(sample, logits.astype(np.float32), old, seed)
        table = shard_table([(sample, signals)], shard_columns([1.0]), old, CODECS["gap5"])
        (row,) = changed(table, Change.of(old, new, "gap5", f"salt {seed}")).to_pylist()
        for place, ids in zip(sample.positions, row["tail_ids"], strict=True):
            np.add.at(counts[place], ids, 1)
        drawn = [len(ids) for ids in row["tail_ids"]]
        sizes.append(drawn - 16 * np.exp(row["tail_logmass"]))
    assert np.abs(sizes).max() < 1.5, "systematic: as many draws as the tail's share, or one off"
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for place in sample.positions:
        tail = np.argsort(-logits[place])[4:]
        found, expected = counts[place, tail] / repeats, 16 * shares[place, tail]
        noise = 5 * np.sqrt(np.maximum(expected, 0.02) / repeats) + 0.03 * expected
        assert (np.abs(found - expected) < noise).all(), (place, found - expected)
        assert not counts[place, np.argsort(-logits[place])[:4]].any(), "what is kept is not drawn"


def test_draws_can_be_dropped_and_hidden_states_too(tmp_path: Path) -> None:
    dump = write_dump(
        tmp_path / "old", count=8, capture=with_widths(hidden_policy(tail_samples=32), 6, 4)
    )
    rows = small(dump, tmp_path / "new", tail_samples=0, hidden=False)
    assert not any(ids for row in rows for ids in row["tail_ids"])
    assert [r["topk_ids"] for r in rows] == [r["topk_ids"] for r in rows_of(dump.path)]
    kept = small(dump, tmp_path / "with", tail_samples=16)
    assert rows_of(tmp_path / "with", "hidden") == rows_of(dump.path, "hidden")
    assert [r["tail_logmass"] for r in kept] == [r["tail_logmass"] for r in rows_of(dump.path)]


def test_it_can_be_done_again_and_says_so(tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "old")
    small(dump, tmp_path / "one", top_k=16)
    small(Dump(tmp_path / "one", dump.manifest, {}, {}), tmp_path / "two", tail_samples=8, top_k=4)
    manifest = open_dump(tmp_path / "two").manifest
    assert manifest.derived is not None
    assert [step.operation for step in manifest.derived.steps] == ["reencode", "reencode"]
    assert manifest.derived.sources[0].capture == OLD
    assert (manifest.capture.top_k, manifest.capture.tail_samples) == (4, 8)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"top_k": 64}, "keeps at most 48 entries"),
        ({"min_prob": 1e-5}, "--min-prob 1e-05 asks for smaller ones"),
        ({"tail_samples": 24}, "Give one of 32, 16, 8, 4, 2, 1, 0"),
        ({"tail_samples": 64}, "holds 32 draws"),
        ({"temperatures": [3.0]}, "does not hold temperature 3; it holds 1, 2"),
    ],
)
def test_what_the_data_no_longer_hold_is_refused(tmp_path, asked, words) -> None:
    dump = dump_of(tmp_path / "old")
    with pytest.raises(InputError, match=words):
        small(dump, tmp_path / "new", **asked)
    with pytest.raises(ConfigError, match="as asked for already"):
        small(dump, tmp_path / "new", top_k=48)
    assert not (tmp_path / "new").exists()
