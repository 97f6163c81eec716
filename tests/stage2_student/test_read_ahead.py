"""Reading ahead: the same items, the same errors, and no thread left."""

import threading

import pytest

from stage2_student.read_ahead import read_ahead, with_next


def test_items_come_in_order() -> None:
    assert list(read_ahead(iter(range(100)), 3)) == list(range(100))


def test_an_error_comes_in_its_place() -> None:
    def items():
        yield 1
        yield 2
        raise ValueError("broken")

    found = []
    with pytest.raises(ValueError, match="broken"):
        for item in read_ahead(items(), 8):
            found.append(item)
    assert found == [1, 2]


def test_it_is_bounded_and_ends_with_its_reader() -> None:
    made = []

    def items():
        for number in range(10_000):
            made.append(number)
            yield number

    before = threading.active_count()
    ahead = read_ahead(items(), 4)
    assert next(ahead) == 0
    ahead.close()
    assert threading.active_count() == before
    assert len(made) <= 7


def test_every_item_comes_with_the_next_one_and_an_error_in_its_place() -> None:
    assert list(with_next(iter("abc"))) == [("a", "b"), ("b", "c"), ("c", None)]
    assert list(with_next(iter(()))) == []

    def failing():
        yield 1
        yield 2
        raise ValueError("third")

    pairs = with_next(failing())
    assert [next(pairs), next(pairs)] == [(1, 2), (2, None)]
    with pytest.raises(ValueError, match="third"):
        next(pairs)
