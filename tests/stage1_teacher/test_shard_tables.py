from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from schemas.array_pool import SMALLEST
from schemas.codecs import CODECS
from schemas.columns import arrow_schema, shard_columns
from schemas.errors import DamagedError
from schemas.manifest import Capture
from stage1_teacher.samples import Ragged, Signals
from stage1_teacher.shard_tables import shard_table
from tests.capture_twin import capture_twin
from tests.dumps import VOCABULARY, make_samples

CAPTURE = Capture(top_k=8, tail_samples=16, temperatures=[1.0, 2.0], optional_columns=["max_logit"])
CODEC = CODECS["gap5"]
COLUMNS = shard_columns(CAPTURE.temperatures, CAPTURE.optional_columns)


def rows_of(count, capture=CAPTURE):
    rng = np.random.default_rng(0)
    samples = make_samples(count)
    logits = [3 * rng.standard_normal((len(s.input_ids), VOCABULARY)) for s in samples]
    return [(s, capture_twin(s, x, capture, 0)) for s, x in zip(samples, logits, strict=True)]


def test_every_row_holds_its_own_signals_rounded_once():
    rows = rows_of(7)
    table = shard_table(rows, COLUMNS, CAPTURE, CODEC)
    assert table.schema == arrow_schema(COLUMNS)
    assert table.num_rows == 7
    for index, (sample, signals) in enumerate(rows):
        row = table.slice(index, 1).to_pylist()[0]
        assert row["id"] == sample.id
        assert row["input_ids"] == sample.input_ids.tolist()
        assert [(s["start"], s["end"]) for s in row["captured"]] == list(sample.captured)
        assert [s["kind"] for s in row["segments"]] == [s.kind for s in sample.segments]
        _same(row["topk_ids"], row["topk_logits"], signals.topk)
        _same(row["tail_ids"], row["tail_logits"], signals.tail)
        for name, expected in (
            ("tail_logmass", CODEC.round_logmass(signals.tail_logmass[:, 0])),
            ("tail_logmass_t2.0", CODEC.round_logmass(signals.tail_logmass[:, 1])),
            ("token_logprobs", signals.token_logprobs),
            ("max_logit", signals.max_logit),
        ):
            np.testing.assert_array_equal(np.asarray(row[name], np.float32), expected)


def _same(ids, logits, ragged: Ragged):
    assert [len(inner) for inner in ids] == np.diff(ragged.offsets).tolist()
    assert [i for inner in ids for i in inner] == ragged.ids.tolist()
    stored = np.asarray([x for inner in logits for x in inner], np.float32)
    np.testing.assert_array_equal(stored, CODEC.round_logits(ragged.logits))


def test_a_row_group_of_samples_without_positions_has_empty_lists():
    sample = make_samples(1)[0]
    empty = Ragged(
        offsets=np.zeros(1, np.int64), ids=np.zeros(0, np.int32), logits=np.zeros(0, "f4")
    )
    signals = Signals(
        topk=empty,
        tail=empty,
        tail_logmass=np.zeros((0, 2), np.float32),
        max_logit=np.zeros(0, np.float32),
        token_logprobs=np.zeros(0, np.float32),
    )
    table = shard_table([(sample, signals)], COLUMNS, CAPTURE, CODEC)
    assert table["topk_ids"].to_pylist() == [[]]
    assert table["tail_logmass"].to_pylist() == [[]]


def test_a_table_keeps_its_numbers_when_others_are_made() -> None:
    """Their large arrays take turns in the same memory."""
    rows = rows_of(3)
    large = [(s, replace(g, topk=_enlarged(g.topk))) for s, g in rows]
    tables = [shard_table([row], COLUMNS, CAPTURE, CODEC) for row in large]
    for table, (_, signals) in zip(tables, large, strict=True):
        values = table["topk_ids"].combine_chunks().values.values
        np.testing.assert_array_equal(values.to_numpy(), signals.topk.ids)
        values = table["topk_logits"].combine_chunks().values.values
        np.testing.assert_array_equal(values.to_numpy(), CODEC.round_logits(signals.topk.logits))


def _enlarged(entries: Ragged) -> Ragged:
    """The same number of lists, with so many entries that their memory is worth keeping."""
    count = SMALLEST // (4 * len(entries.ids)) + 1
    ids, logits = np.tile(entries.ids, count), np.tile(entries.logits, count)
    return Ragged(offsets=entries.offsets * count, ids=ids, logits=logits)


def test_a_logit_above_its_maximum_is_refused():
    (sample, signals), *_ = rows_of(1)
    signals.topk.logits[0] = 0.25
    with pytest.raises(DamagedError, match=r"at most 0.*--dtype float32"):
        shard_table([(sample, signals)], COLUMNS, CAPTURE, CODEC)


def test_inner_fields_are_never_null():
    table = shard_table(rows_of(3), COLUMNS, CAPTURE, CODEC)

    def nullable(kind: pa.DataType) -> bool:
        if pa.types.is_list(kind):
            return kind.value_field.nullable or nullable(kind.value_type)
        if pa.types.is_struct(kind):
            return any(field.nullable or nullable(field.type) for field in kind)
        return False

    assert not any(nullable(field.type) for field in table.schema)
