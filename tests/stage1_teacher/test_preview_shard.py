import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.manifest import Capture
from stage1_teacher.preview_shard import SCHEMA, preview_parquet
from tests.dumps import write_dump


class Letters:
    """Token i is the letter chr(48 + i)."""

    def decode(self, ids, *, skip_special_tokens=True):
        assert not skip_special_tokens
        return "".join(chr(48 + i) for i in ids)


def preview(dump, most=1000):
    data = preview_parquet(dump.path, dump.manifest.shards, dump.manifest.capture, Letters(), most)
    return pq.read_table(io.BytesIO(data))


def entropy(logits):
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return -(p * np.log(p)).sum()


def test_rows_show_text_and_the_teachers_guesses(tmp_path):
    dump = write_dump(tmp_path / "d", capture=Capture(min_prob=None, top_k=64), count=9)
    table = preview(dump)
    assert table.schema == SCHEMA
    assert table.num_rows == 9
    for row in table.to_pylist():
        sample, logits = dump.samples[row["id"]], dump.logits[row["id"]].astype(np.float64)
        assert row["text"] == Letters().decode(sample.input_ids, skip_special_tokens=False)
        assert row["captured_positions"] == len(sample.positions)
        exact = [entropy(logits[t]) for t in sample.positions]
        assert row["mean_entropy"] == pytest.approx(np.mean(exact), abs=0.02)
        token, position = row["tokens"][0], sample.positions[0]
        assert token["token"] == f'"{chr(48 + sample.input_ids[position + 1])}"'.replace(
            "\\", "\\\\"
        )
        p = np.exp(logits[position]) / np.exp(logits[position]).sum()
        assert token["probability"] == pytest.approx(p[sample.input_ids[position + 1]], rel=1e-4)
        best = [float(guess.rsplit(" ", 1)[1]) for guess in token["top5"]]
        np.testing.assert_allclose(best, np.sort(p)[::-1][:5], atol=0.02)


def test_the_entropy_of_the_rest_is_estimated_by_its_sample(tmp_path):
    policy = {"min_prob": 1 / 16, "temperatures": [1.0]}
    flat = {"sharpness": 0.5, "count": 24}
    sampled = write_dump(tmp_path / "s", capture=Capture(tail_samples=64, **policy), **flat)
    without = write_dump(tmp_path / "w", capture=Capture(tail_samples=0, **policy), **flat)
    exact = np.mean(
        [entropy(sampled.logits[s.id][t]) for s in sampled.samples.values() for t in s.positions]
    )

    def found(dump):
        rows = preview(dump).to_pylist()
        return np.average(
            [r["mean_entropy"] for r in rows], weights=[r["captured_positions"] for r in rows]
        )

    assert found(sampled) == pytest.approx(exact, abs=0.05)
    assert found(without) < exact - 0.5


def test_rows_are_spread_over_the_shards_and_never_too_many(tmp_path):
    dump = write_dump(tmp_path / "d", count=40, unit_size=8)
    ids = preview(dump, 10)["id"].to_pylist()
    assert len(ids) == 10
    assert {int(i.split("-")[1]) // 8 for i in ids} == set(range(5))
    assert len(preview(dump, 3)) == 3


def test_ragged_shards_still_fill_the_preview(tmp_path):
    dump = write_dump(tmp_path / "d", count=17, unit_size=8)
    assert len(preview(dump, 15)) == 15
