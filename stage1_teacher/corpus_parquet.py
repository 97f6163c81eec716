"""Rows of a Parquet file; of its columns only those that are needed are read."""

from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import CorpusError
from stage1_teacher.raw_rows import RawRow

_BATCH = 64


def read_parquet(file: IO[bytes], path: str, wanted: frozenset[str]) -> Iterator[RawRow]:
    """Rows of a .parquet file, a small batch in memory at a time.

    Raises:
        CorpusError: the file is damaged or no Parquet.
    """
    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        used = [name for name in names if name in wanted]
        number = 0
        for batch in table.iter_batches(batch_size=_BATCH, columns=used):
            for values in batch.to_pylist() if used else [{}] * len(batch):
                number += 1
                yield RawRow(where=f"{path}, row {number}", values=values, columns=names)
    except pa.ArrowException as error:
        raise CorpusError(
            f"the corpus file {path} is damaged or no Parquet: {error}. "
            "Make it again, or fetch it again."
        ) from error
