import pytest

from schemas.errors import CorpusError
from stage1_teacher.units import RowCursor, unit_ranges


@pytest.mark.parametrize(("rows", "size"), [(0, 4), (1, 4), (4, 4), (5, 4), (513, 512), (1000, 7)])
def test_units_cover_every_row_once_and_are_balanced(rows, size):
    units = unit_ranges(rows, size)
    assert [row for start, end in units for row in range(start, end)] == list(range(rows))
    sizes = [end - start for start, end in units]
    assert not sizes or (max(sizes) <= size and max(sizes) - min(sizes) <= 1)
    assert len(units) == -(-rows // size)


def cursor(count, opened):
    def rows():
        opened.append(0)
        for row in range(count):
            opened[-1] = row + 1
            yield row

    return RowCursor(rows)


def test_units_in_order_cost_one_pass():
    opened = []
    reader = cursor(20, opened)
    assert [reader.rows(s, e) for s, e in ((0, 5), (5, 7), (15, 20))] == [
        [0, 1, 2, 3, 4],
        [5, 6],
        [15, 16, 17, 18, 19],
    ]
    assert opened == [20]


def test_an_earlier_unit_begins_again_and_no_more_than_asked_is_read():
    opened = []
    reader = cursor(20, opened)
    assert reader.rows(10, 12) == [10, 11]
    assert reader.rows(2, 4) == [2, 3]
    assert opened == [12, 4]


def test_a_corpus_that_became_shorter_is_an_error():
    with pytest.raises(CorpusError, match=r"ended before row 21.*run the same command again"):
        cursor(20, []).rows(15, 21)
