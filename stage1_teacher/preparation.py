"""Everything that is known before the teacher runs: checked settings, rows, units, tokenizer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.manifest import Settings
from schemas.plan import RowRange
from schemas.progress import Report
from stage1_teacher.engine import Engine
from stage1_teacher.preview_shard import Decoder
from stage1_teacher.samples import Sample
from stage1_teacher.settings import DumpSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Rows as the teacher will see them; `skipped` and `truncated` count rows."""

    samples: list[Sample]
    skipped: int
    truncated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A dump ready to run.

    Attributes:
        settings: everything that decides the numbers, as the plan holds it.
        units: half-open ranges of rows.
        rows: starts reading the corpus at its first row.
        render: makes samples of consecutive rows.
        engine: not started yet.
        hidden_size: width of the teacher's hidden states.
        batch_tokens: token budget of one forward pass.
        tokenizer_files: what stands in tokenizer/, by name.
        decoder: the tokenizer, for the readable preview.
    """

    settings: Settings
    units: list[RowRange]
    rows: Callable[[], Iterator[Any]]
    render: Callable[[Sequence[Any]], Rendered]
    engine: Engine
    hidden_size: int
    batch_tokens: int
    tokenizer_files: Mapping[str, bytes]
    decoder: Decoder


def prepare(settings: DumpSettings, report: Report) -> Prepared:
    """Makes every check that needs no teacher in memory."""
    raise NotImplementedError
