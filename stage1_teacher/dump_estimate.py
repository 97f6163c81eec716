"""`--dry-run`: every check that needs no teacher in memory, and what the dump will weigh."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from schemas.progress import Report, ignore
from stage1_teacher.corpus_rows import CorpusRow
from stage1_teacher.dump_size import expected_bytes, hidden_bytes_per_token
from stage1_teacher.preparation import Prepared, prepare
from stage1_teacher.rendering import Rendered
from stage1_teacher.settings import DumpSettings

_SAMPLED_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpEstimate:
    """What a dump will hold, extrapolated from `sampled_rows` rows spread over the corpus.

    Attributes:
        rows: rows of the corpus, counted.
        sampled_rows: rows that were rendered.
        sequences: sequences that the teacher will see.
        tokens: tokens that it will see.
        positions: captured positions.
        most: whether the figures are the most that may come, as the teacher writes and some of its
            responses are dropped.
        truncated: rows that will be cut.
        bytes: of data/ and hidden/.
        bytes_per_token: the same per token.
        hidden_bytes_per_token: of these, in hidden/.
        units: work units.
    """

    rows: int
    sampled_rows: int
    sequences: int
    tokens: int
    positions: int
    most: bool
    truncated: int
    bytes: int
    bytes_per_token: float
    hidden_bytes_per_token: float
    units: int


def check(settings: DumpSettings, report: Report = ignore) -> DumpEstimate:
    """Makes every check that needs no teacher in memory, then estimates the dump.

    Raises:
        PotstillError: what `dump` would refuse before it starts the teacher.
    """
    return estimate(prepare(settings, report))


def estimate(prepared: Prepared) -> DumpEstimate:
    """Renders rows spread over the corpus and extrapolates."""
    rows = prepared.settings.corpus.rows
    sampled = list(_spread(prepared.rows(), rows))
    found = prepared.render(sampled)
    share = rows / len(sampled)
    sequences, tokens, positions = (round(share * count) for count in _counts(prepared, found))
    capture = prepared.settings.capture
    size = expected_bytes(tokens, positions, capture)
    return DumpEstimate(
        rows=rows,
        sampled_rows=len(sampled),
        sequences=sequences,
        tokens=tokens,
        positions=positions,
        most=prepared.writing is not None,
        truncated=round(share * found.truncated),
        bytes=size,
        bytes_per_token=size / max(1, tokens),
        hidden_bytes_per_token=hidden_bytes_per_token(capture),
        units=len(prepared.units),
    )


def _spread(rows: Iterator[CorpusRow], count: int) -> Iterator[CorpusRow]:
    return islice(rows, 0, None, max(1, -(-count // _SAMPLED_ROWS)))


def _counts(prepared: Prepared, found: Rendered) -> tuple[int, int, int]:
    """Sequences, tokens and captured positions; of responses to be written, the most possible."""
    writing, samples = prepared.writing, found.samples
    seen = sum(len(sample.input_ids) for sample in samples)
    if writing is None:
        captured = sum(end - start for sample in samples for start, end in sample.captured)
        return len(samples), seen, captured
    several, written = writing.plan.samples, sum(map(writing.budget, samples))
    return several * len(samples), several * (seen + written), several * written
