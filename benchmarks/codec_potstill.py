"""Our side of `benchmarks.codec`: signals to a file on the disk, a dump to a trainer's batches."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.codec_errors import rounding_error
from benchmarks.codec_sample import WINDOW, CodecSample, count_tokens, kept, top
from schemas.codecs import CODECS, PLAIN
from schemas.columns import shard_columns
from schemas.dump_folder import open_dump
from schemas.shards import write_shard
from stage1_teacher.commit import open_work
from stage1_teacher.shard_tables import Row, shard_table
from stage1_teacher.shard_writer import Recipe, row_groups, write_unit
from stage2_student.stream import Stream, StreamSettings, open_stream


class Potstill:
    """Tables, rounding, checks of the bound and Parquet; and the trainer's packed dense batches."""

    def __init__(self, folder: Path, sample: CodecSample, k: int) -> None:
        capture = top(k)
        self._file, self._dump = folder / f"ours-{k}.parquet", folder / f"ours-{k}"
        self._once = [(own, kept(signals, capture)) for own, signals in sample.once]
        self._rows = [(own, kept(signals, capture)) for own, signals in sample.rows]
        self._settings = sample.prepared.settings.model_copy(update={"capture": capture})
        self._recipe = Recipe(
            capture=capture,
            codec=CODECS[PLAIN],
            columns=shard_columns(capture.temperatures),
            seed=0,
            hidden=None,
            batch_tokens=2048,
        )
        self._stream: Stream

    def write(self) -> None:
        """As the other side: what was captured, encoded, in a file."""
        self._write(self._rows)

    def bytes_per_token(self) -> float:
        """Of the sample without its copies."""
        self._write(self._once)
        return self._file.stat().st_size / count_tokens(self._once)

    def commit(self) -> None:
        """All of a unit: range checks, alignment self-test, hashes, fsync and record, too."""
        shutil.rmtree(self._dump, ignore_errors=True)
        units = [(0, len(self._rows))]
        work = open_work(self._dump, self._settings, units, created_by="benchmarks/codec.py")
        for unit in work.units():
            with work.attempt(unit) as attempt:
                sums = write_unit(attempt, self._rows, self._recipe)
                attempt.commit(sums.counts())
        work.finalise()

    def open(self) -> None:
        """Opens what `commit` left; not timed."""
        settings = StreamSettings(rows_per_step=8, max_length=WINDOW)
        self._stream = open_stream([open_dump(self._dump)], settings)
        self._stream.plan(0)

    def read(self) -> int:
        """Positions of one epoch, shuffled and packed."""
        return sum(len(batch.targets.rows_N) for batch in self._stream.epoch_batches(0))

    def errors(self) -> npt.NDArray[np.float64]:
        """[P] KL of every position."""
        return np.concatenate([rounding_error(signals) for _, signals in self._once])

    def _write(self, rows: list[Row]) -> None:
        recipe = self._recipe
        tables = (
            shard_table(group, recipe.columns, recipe.capture, recipe.codec)
            for group in row_groups(rows)
        )
        with self._file.open("wb") as sink:
            write_shard(sink, tables, recipe.columns, {})
