"""Which rows are read: by source, segments, verdict, length; what each filter left out."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.columns import BY_NAME
from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, InputError
from stage2_student.row_filter import RowFilter, check_filter
from stage2_student.row_index import RowChoice, read_index
from tests.dumps import Dump, write_dump

SEGMENTS = [
    [("prompt", 0, 2), ("rationale", 2, 5), ("answer", 5, 6)],
    [("prompt", 0, 2), ("answer", 2, 6)],
    [("text", 0, 6)],
]


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    """Sources a and b by turns; those of b have a prompt and a response."""
    return write_dump(tmp_path_factory.mktemp("filter") / "dump", count=40)


def index_of(dump: Dump, **given):
    return read_index([open_dump(dump.path)], RowChoice(only=RowFilter(**given)))


def table() -> pa.Table:
    spans = [[{"kind": k, "start": s, "end": e} for k, s, e in row] for row in SEGMENTS]
    values = {
        "source": ["web/a", "web/b", "code"],
        "segments": spans,
        "verdict": [True, False, None],
    }
    return pa.table({n: pa.array(v, BY_NAME[n].type) for n, v in values.items()})


@pytest.mark.parametrize(
    ("given", "passing"),
    [
        ({"sources": ("web/*",)}, [1, 1, 0]),
        ({"sources": ("code", "*b")}, [0, 1, 1]),
        ({"with_segments": ("answer",)}, [1, 1, 0]),
        ({"with_segments": ("nothing",)}, [0, 0, 0]),
        ({"verdicts": ("correct",)}, [1, 0, 0]),
        ({"verdicts": ("wrong", "unverified")}, [0, 1, 1]),
        ({"min_tokens": 5}, [0, 1, 1]),
        ({"max_tokens": 5}, [1, 1, 0]),
    ],
)
def test_each_filter_by_itself(given: dict[str, object], passing: list[int]) -> None:
    lengths = np.asarray([4, 5, 6])
    for rows in (slice(0, 3), slice(1, 3)):
        part = table().slice(rows.start)
        [(_, found)] = RowFilter(**given).masks(part, lengths[rows])
        assert found.tolist() == [bool(p) for p in passing[rows]]


def test_several_kinds_must_all_be_there() -> None:
    only = RowFilter(with_segments=("prompt", "rationale"))
    masks = [found for _, found in only.masks(table(), np.full(3, 6))]
    assert np.logical_and.reduce(masks).tolist() == [True, False, False]


def test_the_index_holds_what_is_left_and_counts_what_is_not(dump: Dump) -> None:
    index = index_of(dump, sources=("synthetic/b",), min_tokens=20)
    left = [
        s for s in dump.samples.values() if s.source == "synthetic/b" and len(s.input_ids) >= 20
    ]
    assert index.length_R.tolist() == [len(sample.input_ids) for sample in left]
    assert index.longest == max(index.length_R)
    assert index.left_out == {"--sources synthetic/b": 20, "--min-tokens 20": 20 - len(left)}
    assert [index.sources[code] for code in index.source_R] == ["synthetic/b"] * len(left)


def test_the_index_says_of_which_source_each_row_is(dump: Dump) -> None:
    index = read_index([open_dump(dump.path)], RowChoice(with_sources=True))
    found = [index.sources[code] for code in index.source_R]
    assert found == [sample.source for sample in dump.samples.values()]


def test_a_filter_that_leaves_nothing_says_what_each_one_took(dump: Dump) -> None:
    with pytest.raises(InputError) as caught:
        index_of(dump, sources=("*/b",), with_segments=("text",), max_tokens=10)
    text = str(caught.value)
    assert "none of the 40 rows" in text and str(dump.path) in text
    assert "--sources */b: 20 left out" in text
    assert "--with-segments text: 20 left out" in text
    assert "--max-tokens" not in text


def test_a_source_that_no_row_has_is_named_with_those_there_are(dump: Dump) -> None:
    with pytest.raises(InputError, match=r"'synthetic/c'; the dumps hold synthetic/a, synthetic/b"):
        index_of(dump, sources=("synthetic/a", "synthetic/c"))


def test_verdicts_need_a_dump_that_has_them(dump: Dump) -> None:
    check_filter(RowFilter(), [open_dump(dump.path)])
    with pytest.raises(ConfigError, match="holds no verdicts"):
        check_filter(RowFilter(verdicts=("correct",)), [open_dump(dump.path)])


def test_the_split_is_counted_too(dump: Dump) -> None:
    index = read_index(
        [open_dump(dump.path)], RowChoice(part="train", held_out=0.3, only=RowFilter(min_tokens=10))
    )
    [name] = [name for name in index.left_out if "--holdout 0.3" in name]
    assert sum(index.left_out.values()) + len(index) == 40
    assert index.left_out[name] > 0
