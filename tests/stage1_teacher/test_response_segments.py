"""Rationale and answer on token boundaries, whatever a tokenizer makes of the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage1_teacher.parsed_answer import Parsed
from stage1_teacher.response_segments import response_segments
from stage1_teacher.tokenizer import TeacherTokenizer
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> TeacherTokenizer:
    return TeacherTokenizer(tiny_tokenizer())


def kinds(pieces: list[str], rationale, answer, start: int = 0) -> list[tuple[str, int, int]]:
    parsed = Parsed(rationale=rationale, answer=answer, answer_text="x")
    return [(s.kind, s.start, s.end) for s in response_segments(pieces, parsed, start)]


def test_what_is_neither_is_response() -> None:
    pieces = ["<think>", "so", " it", "</think>", "4", "2", ".", ""]
    found = kinds(pieces, (7, 12), (20, 22), start=10)
    assert found == [
        ("response", 10, 11),
        ("rationale", 11, 13),
        ("response", 13, 14),
        ("answer", 14, 16),
        ("response", 16, 18),
    ]


def test_a_token_over_a_border_belongs_to_the_later_segment() -> None:
    pieces = ["ab", " 4", "2.", " c"]  # the answer is "42": both its ends are inside a token
    assert kinds(pieces, (0, 2), (3, 5)) == [
        ("rationale", 0, 1),
        ("answer", 1, 2),
        ("response", 2, 4),
    ]
    assert kinds(["abc", "de4"], (0, 5), (5, 6)) == [("rationale", 0, 1), ("answer", 1, 2)]


def test_parts_of_a_character_belong_where_it_does() -> None:
    pieces = ["a", "", "", "é", "b", ""]  # é in three tokens; then the end token
    assert kinds(pieces, (0, 1), (1, 2)) == [
        ("rationale", 0, 1),
        ("answer", 1, 4),
        ("response", 4, 6),
    ]


def test_without_an_answer_all_is_response() -> None:
    (segment,) = response_segments(["a", "b", ""], None, 5)
    assert (segment.kind, segment.start, segment.end) == ("response", 5, 8)


@given(st.text(max_size=30), st.data())
def test_pieces_put_together_are_the_text(tokenizer, text: str, data) -> None:
    ids = tokenizer.encode(text, special=False).ids
    cut = data.draw(st.integers(0, len(ids)))
    for some in (ids, ids[:cut], ids[cut:]):  # cut anywhere, also inside a character
        pieces = tokenizer.pieces(some)
        assert len(pieces) == len(some)
        assert "".join(pieces) == tokenizer.decode(some)


@given(st.lists(st.integers(4, 320), max_size=12))
def test_pieces_of_any_ids_are_their_text(tokenizer, ids: list[int]) -> None:
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


def test_a_character_is_added_by_its_last_token(tokenizer) -> None:
    ids = tokenizer.encode("a€b", special=False).ids
    assert tokenizer.pieces(ids) == ["a", "", "", "€", "b"]
