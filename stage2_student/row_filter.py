"""Which rows of the dumps are read at all: by source, segments, verdict and length.

Shapes: R rows of a row group.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.dump_folder import DumpFolder
from schemas.errors import ConfigError
from stage2_student.row_settings import Verdict

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_VERDICTS: dict[str, bool | None] = {"correct": True, "wrong": False, "unverified": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """What a row must be to be read; the default takes every row.

    Attributes:
        sources: patterns such as `web/*`, of which its source matches one; none for any source.
        with_segments: kinds of segments, of each of which it has at least one.
        verdicts: its answer's; none for any.
        min_tokens: at least so many tokens.
        max_tokens: at most so many tokens.
    """

    sources: tuple[str, ...] = ()
    with_segments: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    min_tokens: int | None = None
    max_tokens: int | None = None

    @property
    def columns(self) -> list[str]:
        """What is read besides the column `segments`."""
        return ["source"] * bool(self.sources) + ["verdict"] * bool(self.verdicts)

    def masks(self, table: pa.Table, length_r: Ints) -> Iterator[tuple[str, Bools]]:
        """Every filter that is set, as a user wrote it, and [R] which rows pass it."""
        for written, passes in self._tests():
            yield written, passes(table, length_r)

    @property
    def written(self) -> list[str]:
        """Every filter that is set, as a user wrote it."""
        return [written for written, _ in self._tests()]

    def _tests(self) -> Iterator[tuple[str, Callable[[pa.Table, Ints], Bools]]]:
        least, most = self.min_tokens, self.max_tokens
        if self.sources:
            yield f"--sources {','.join(self.sources)}", lambda t, _: _of_sources(t, self.sources)
        for kind in self.with_segments:
            yield f"--with-segments {kind}", partial(_with_segment, kind)
        if self.verdicts:
            written = f"--verdicts {','.join(self.verdicts)}"
            yield written, lambda t, _: _of_verdicts(t, self.verdicts)
        if least is not None:
            yield f"--min-tokens {least}", lambda _, length_r: length_r >= least
        if most is not None:
            yield f"--max-tokens {most}", lambda _, length_r: length_r <= most


def filter_of(settings: Any) -> RowFilter:
    """What the settings of a training say."""
    return RowFilter(
        sources=tuple(settings.sources),
        with_segments=tuple(settings.with_segments),
        verdicts=tuple(settings.verdicts),
        min_tokens=settings.min_tokens,
        max_tokens=settings.max_tokens,
    )


def check_filter(only: RowFilter, dumps: Sequence[DumpFolder]) -> None:
    """Checks that the dumps hold what the rows are chosen by.

    Raises:
        ConfigError: a dump has no verdicts.
    """
    for dump in dumps:
        if only.verdicts and "verdict" not in dump.manifest.capture.optional_columns:
            raise ConfigError(
                f"{dump.url} holds no verdicts, so no row can be chosen by its own. Leave out "
                "--verdicts, or take a dump whose answers were verified."
            )


def matches(source: str, pattern: str) -> bool:
    """Whether a source is one that a pattern with `*`, `?` or `[…]` means."""
    return fnmatchcase(source, pattern)


def _of_sources(table: pa.Table, patterns: Sequence[str]) -> Bools:
    coded = table["source"].combine_chunks().fill_null("").dictionary_encode()
    names = coded.dictionary.to_pylist()
    chosen = np.asarray([any(matches(n, p) for p in patterns) for n in names], bool)
    found: Bools = chosen[coded.indices.to_numpy(zero_copy_only=False)]
    return found


def _with_segment(kind: str, table: pa.Table, _: Ints) -> Bools:
    segments = table["segments"].combine_chunks()
    offsets = segments.offsets.to_numpy().astype(np.int64)
    kinds = segments.values.field("kind").dictionary_encode()
    code = kinds.dictionary.index(kind).as_py()
    counted = np.cumsum(np.concatenate([[0], kinds.indices.to_numpy(zero_copy_only=False) == code]))
    found: Bools = counted[offsets[1:]] > counted[offsets[:-1]]
    return found


def _of_verdicts(table: pa.Table, verdicts: Sequence[Verdict]) -> Bools:
    wanted = {_VERDICTS[verdict] for verdict in verdicts}
    return np.asarray([verdict in wanted for verdict in table["verdict"].to_pylist()], bool)
