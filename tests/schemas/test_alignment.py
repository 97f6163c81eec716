"""The self-test passes what is right and catches what slipped."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas import alignment
from schemas.alignment import AlignmentTest, merged_alignment
from schemas.columns import arrow_schema
from schemas.errors import DamagedError
from schemas.manifest import Alignment, Capture
from schemas.shard_sums import ShardSums
from tests.dumps import Dump, write_dump
from tests.schemas.test_format_page import snippet


def tables(dump: Dump) -> list[pa.Table]:
    import pyarrow.parquet as pq

    return [pq.read_table(dump.path / "data" / shard.name) for shard in dump.manifest.shards]


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    return write_dump(tmp_path_factory.mktemp("d") / "dump", count=64, unit_size=32)


def run_test(*parts: pa.Table) -> AlignmentTest:
    test = AlignmentTest()
    for part in parts:
        test.add(part)
    return test


def by_rows(dump: Dump) -> list[tuple[float, float, float]]:
    """The slow twin: (stored, read at −1, 0, +1) differences, one position at a time."""
    names: dict[str, object] = {}
    exec(snippet(), names)
    found: list[list[float]] = [[], [], []]
    for table in tables(dump):
        for row in table.to_pylist():
            spans = row["captured"]
            positions = [t for span in spans for t in range(span["start"], span["end"])]
            decoded = names["decode"](row)  # type: ignore[operator]
            ids = row["input_ids"]
            for t, stored, (kept, logprobs, _) in zip(
                positions, row["token_logprobs"], decoded, strict=True
            ):
                for index, shift in enumerate((-1, 0, 1)):
                    place = t + 1 + shift
                    if not 0 <= place < len(ids) or (shift and ids[place] == ids[t + 1]):
                        continue
                    found[index] += [
                        abs(lp - stored)
                        for j, lp in zip(kept, logprobs, strict=True)
                        if j == ids[place]
                    ]
    return [(len(errors), float(np.mean(errors))) for errors in found]  # type: ignore[return-value]


def test_it_passes_and_agrees_with_the_slow_twin(dump: Dump) -> None:
    test = run_test(*tables(dump))
    assert test.problems() == []
    (_, minus), (compared, zero), (_, plus) = by_rows(dump)
    result = test.result()
    assert result.positions == compared > 300
    assert result.shift_0 == pytest.approx(zero, abs=1e-6) and zero < 0.05
    assert result.shift_minus_1 == pytest.approx(minus, rel=1e-5) and minus > 1
    assert result.shift_plus_1 == pytest.approx(plus, rel=1e-5) and plus > 1


def test_it_accumulates_over_row_groups(dump: Dump) -> None:
    whole = run_test(pa.concat_tables(tables(dump)))
    parts = run_test(*[t.slice(i, 5) for t in tables(dump) for i in range(0, len(t), 5)])
    assert parts.result().positions == whole.result().positions
    assert parts.result().shift_plus_1 == pytest.approx(whole.result().shift_plus_1)


def slipped(table: pa.Table, names: list[str], by: int) -> pa.Table:
    """The columns moved by one position inside every row; the ends are doubled."""
    for name in names:
        index = table.schema.get_field_index(name)
        moved = [
            [*values[1:], values[-1]] if by < 0 else [values[0], *values[:-1]]
            for values in table[name].to_pylist()
        ]
        field = table.schema.field(name)
        table = table.set_column(index, field, pa.array(moved, field.type))
    return table


SIGNALS = ["topk_ids", "topk_logits", "tail_logmass", "token_logprobs"]


@pytest.mark.parametrize(("by", "shift"), [(-1, "+1"), (1, "-1")])
def test_signals_that_slipped_are_caught_and_located(dump: Dump, by: int, shift: str) -> None:
    test = run_test(*[slipped(table, SIGNALS, by) for table in tables(dump)])
    (problem, *_) = test.problems()
    assert "is not the one of the kept entries" in problem
    assert f"they belong to shift {shift}" in problem


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("names", [["token_logprobs"], SIGNALS[:2]])
def test_a_part_that_slipped_is_caught(dump: Dump, names: list[str], by: int) -> None:
    assert run_test(*[slipped(table, names, by) for table in tables(dump)]).problems()


@pytest.mark.parametrize("by", [-1, 1])
def test_tail_masses_that_slipped_are_caught(tmp_path: Path, by: int) -> None:
    """Where they matter: the kept entries must leave something."""
    dump = write_dump(tmp_path / "d", capture=Capture(min_prob=None, top_k=12), sharpness=2.0)
    assert not run_test(*tables(dump)).problems()
    assert run_test(*[slipped(table, ["tail_logmass"], by) for table in tables(dump)]).problems()


def changed(table: pa.Table, name: str, change: object) -> pa.Table:
    index, field = table.schema.get_field_index(name), table.schema.field(name)
    values = [[change(v) for v in row] for row in table[name].to_pylist()]  # type: ignore[operator]
    return table.set_column(index, field, pa.array(values, field.type))


def test_an_offset_beyond_rounding_is_caught(dump: Dump) -> None:
    (table, _) = tables(dump)
    assert not run_test(changed(table, "token_logprobs", lambda v: v - 1e-3)).problems()
    assert run_test(changed(table, "token_logprobs", lambda v: v - 0.3)).problems()


def test_a_token_too_probable_for_the_tail_is_caught(dump: Dump) -> None:
    (table, _) = tables(dump)
    kept = [[ids[:1] for ids in row] for row in table["topk_ids"].to_pylist()]
    logits = [[x[:1] for x in row] for row in table["topk_logits"].to_pylist()]
    for name, values in (("topk_ids", kept), ("topk_logits", logits)):
        field = table.schema.field(name)
        index = table.schema.get_field_index(name)
        table = table.set_column(index, field, pa.array(values, field.type))
    problems = run_test(table).problems()
    assert any("more probable than everything outside" in problem for problem in problems)


def test_a_teacher_that_knows_nothing_passes(tmp_path: Path) -> None:
    """Uniform distributions agree at every shift, and say nothing about alignment."""
    dump = write_dump(tmp_path / "flat", sharpness=1e-4, count=40)
    assert run_test(*tables(dump)).problems() == []


def test_entries_that_fit_every_shift_are_caught() -> None:
    """Kept logits that differ widely, and yet the values of the wrong tokens agree."""
    test = AlignmentTest()
    for shift in test._shifts.values():
        shift.compared = shift.telling = shift.agreeing = 40
    assert test.problems() == [
        "the entries agree as well with the token at shift -1",
        "the entries agree as well with the token at shift +1",
    ]
    for shift in test._shifts.values():
        shift.telling = shift.agreeing = 31
    assert test.problems() == []


@pytest.mark.parametrize("seed", range(20))
def test_tiny_dumps_pass(tmp_path: Path, seed: int) -> None:
    dump = write_dump(tmp_path / "tiny", count=1 + seed % 3, seed=seed, longest=4)
    assert run_test(*tables(dump)).problems() == []


@pytest.mark.parametrize("capture", [Capture(min_prob=None, top_k=1), Capture(top_k=2), Capture()])
def test_every_policy_and_sharpness_passes(tmp_path: Path, capture: Capture) -> None:
    for sharpness in (0.3, 1.0, 8.0, 40.0):
        path = tmp_path / str(sharpness)
        dump = write_dump(path, capture=capture, sharpness=sharpness)
        assert run_test(*tables(dump)).problems() == []


def test_nothing_is_compared_in_an_empty_group(dump: Dump) -> None:
    empty = arrow_schema([]).empty_table()
    assert empty.num_rows == 0
    (table, _) = tables(dump)
    result = run_test(table.slice(0, 0)).result()
    assert result == Alignment(positions=0, shift_minus_1=None, shift_0=None, shift_plus_1=None)


def test_merging_weights_by_positions() -> None:
    parts = [
        Alignment(positions=1, shift_minus_1=4.0, shift_0=0.0, shift_plus_1=None),
        Alignment(positions=3, shift_minus_1=8.0, shift_0=0.4, shift_plus_1=None),
        Alignment(positions=0, shift_minus_1=None, shift_0=None, shift_plus_1=None),
    ]
    merged = merged_alignment(parts)
    assert merged.positions == 4 and merged.shift_plus_1 is None
    assert (merged.shift_minus_1, merged.shift_0) == (7.0, pytest.approx(0.3))


def test_a_unit_that_fails_says_so(dump: Dump) -> None:
    sums = ShardSums()
    for table in tables(dump):
        sums.add(slipped(table, SIGNALS, 1))
    with pytest.raises(DamagedError, match="nothing of this unit was kept"):
        sums.check()


@pytest.mark.parametrize("entries", [1, 100, 10_000])
def test_blocks_of_any_size_give_the_same(
    dump: Dump, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    whole = run_test(*tables(dump)).result()
    monkeypatch.setattr(alignment, "_BLOCK", entries)
    parts = run_test(*tables(dump)).result()
    assert parts.positions == whole.positions > 100
    for name in ("shift_minus_1", "shift_0", "shift_plus_1"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-6), name
