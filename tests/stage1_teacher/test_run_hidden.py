"""Hidden states beside the signals of a dump."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import potstill
from schemas.errors import DamagedError
from schemas.verify import verify
from stage1_teacher.hidden_policy import with_widths
from tests.dumps import hidden_policy, make_states
from tests.stage1_teacher.prepared_dumps import Crash, TwinEngine, prepared_dump


def test_hidden_states_stand_beside_the_signals(dump, tmp_path):
    capture = hidden_policy("bf16")
    prepared = prepared_dump(capture=capture)
    dump(prepared)
    assert verify(str(tmp_path / "out")).ok
    samples = {sample.id: sample for sample in prepared.rows()}
    rows = list(potstill.open_dump(tmp_path / "out").rows(hidden=[0, "last"]))
    assert len(rows) == 40
    for row in rows:
        expected = make_states(samples[row.id], capture)
        np.testing.assert_array_equal(row.hidden[0], expected["0"])
        np.testing.assert_array_equal(row.hidden["last"], expected["last"])


def test_a_projection_is_stored_once_and_is_that_of_the_plan(dump, tmp_path):
    capture = with_widths(hidden_policy("int8"), 6, 4)
    prepared = prepared_dump(capture=capture)
    dump(prepared)
    assert verify(str(tmp_path / "out")).ok
    opened = potstill.open_dump(tmp_path / "out")
    samples = {sample.id: sample for sample in prepared.rows()}
    for row in opened.rows(hidden=["last"]):
        expected = make_states(samples[row.id], capture)["last"] @ opened.projection()
        assert row.hidden["last"].shape == expected.shape
        lost = np.linalg.norm(row.hidden["last"] - expected, axis=1)
        assert (lost <= 0.1 * np.linalg.norm(expected, axis=1)).all()


def test_hidden_states_do_not_depend_on_batching_nor_on_what_happened_before(dump, tmp_path):
    def die(seen):
        if seen == 21:
            raise Crash

    capture = hidden_policy("int8")
    with pytest.raises(Crash):
        dump(prepared_dump(capture=capture, engine=TwinEngine(before=die)))
    summary = dump(prepared_dump(capture=capture, batch_tokens=100_000))
    assert summary.units_done == 3 and summary.hidden_bytes_per_token > 0
    dump(prepared_dump(capture=capture), tmp_path / "undisturbed")
    found, expected = (
        pa.concat_tables(pq.read_table(f) for f in sorted((tmp_path / name / "hidden").iterdir()))
        for name in ("out", "undisturbed")
    )
    assert found.equals(expected) and found.num_rows == 40


def test_states_that_an_engine_forgets_are_noticed(dump):
    def forget(signals):
        return replace(signals, hidden={"0": signals.hidden["0"]})

    with pytest.raises(DamagedError, match=r"left the hidden states of .* layer 2"):
        dump(prepared_dump(capture=hidden_policy(), engine=TwinEngine(change=forget)))
