"""What `potstill dump --preview` shows: rows as the teacher will see them, no engine started."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np

from stage1_teacher.corpus_rows import CorpusRow
from stage1_teacher.preparation import open_source
from stage1_teacher.prompts import RowSamples
from stage1_teacher.rendering import Source, one_row_renderer
from stage1_teacher.samples import Sample
from stage1_teacher.settings import DumpSettings
from stage1_teacher.tokenizer import TeacherTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewSpan:
    """Consecutive tokens that are alike.

    Attributes:
        text: what they spell.
        kind: segment kind.
        captured: whether the teacher's distributions over them will be stored.
        special: whether they are special tokens.
    """

    text: str
    kind: str
    captured: bool
    special: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewSample:
    """One sequence, or a row that gives none.

    Attributes:
        id: of the sample; of the row, when it gives none.
        where: file and line.
        source: the row's slice.
        spans: the sequence, in order.
        tokens: how many it has.
        positions: how many of them are captured.
        bos: how many BOS tokens it has at its start; more than one is a mistake.
        window: which window of its row this is, from 0.
        windows: how many the row gives.
        cut: whether tokens of the row were left out.
        to_write: the most tokens that the teacher may write behind it.
        skipped: why the row gives no sequence, or empty.
    """

    id: str
    where: str
    source: str
    spans: tuple[PreviewSpan, ...]
    tokens: int
    positions: int
    bos: int
    window: int
    windows: int
    cut: bool
    to_write: int
    skipped: str


def preview(settings: DumpSettings, rows: int) -> list[PreviewSample]:
    """The first rows of the corpus, rendered.

    Raises:
        PotstillError: what a dump would refuse in these rows, the teacher's weights left aside.
    """
    source = open_source(settings)
    render = one_row_renderer(settings, source)
    found = islice(source.corpus.rows(), rows)
    return [sample for row in found for sample in _row(row, render, source)]


def _row(
    row: CorpusRow, render: Callable[[CorpusRow], RowSamples], source: Source
) -> list[PreviewSample]:
    rendered, tokenizer, writing = render(row), source.tokenizer, source.writing
    return [
        PreviewSample(
            id=sample.id if sample else row.id,
            where=row.where,
            source=row.source,
            spans=tuple(_spans(sample, tokenizer)) if sample else (),
            tokens=len(sample.input_ids) if sample else 0,
            positions=len(sample.positions) if sample else 0,
            bos=_leading_bos(sample, tokenizer) if sample else 0,
            window=number,
            windows=len(rendered.samples),
            cut=rendered.cut,
            to_write=writing.budget(sample) if writing and sample else 0,
            skipped=rendered.skipped,
        )
        for number, sample in enumerate(rendered.samples or (None,))
    ]


def _spans(sample: Sample, tokenizer: TeacherTokenizer) -> Iterator[PreviewSpan]:
    ids = sample.input_ids.tolist()
    kinds = [s.kind for s in sample.segments for _ in range(s.start, s.end)]
    captured = np.zeros(len(ids), np.bool_)
    captured[sample.positions + 1] = True
    looks = [
        (kind, bool(is_captured), id in tokenizer.special_ids)
        for kind, is_captured, id in zip(kinds, captured, ids, strict=True)
    ]
    for (kind, is_captured, special), group in groupby(range(len(ids)), key=looks.__getitem__):
        text = tokenizer.decode([ids[index] for index in group])
        yield PreviewSpan(text=text, kind=kind, captured=is_captured, special=special)


def _leading_bos(sample: Sample, tokenizer: TeacherTokenizer) -> int:
    found = np.flatnonzero(sample.input_ids != tokenizer.bos)
    return int(found[0]) if found.size else len(sample.input_ids)
