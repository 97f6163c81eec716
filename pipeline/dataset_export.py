"""Writes a dump in another system's layout, streaming."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset_exchange_settings import ExportSettings
from pipeline.foreign_axolotl import axolotl_row
from schemas.dump_folder import DumpFolder, open_dump
from schemas.errors import ConflictError
from schemas.progress import Progress, Report, ignore
from schemas.storage import explained
from schemas.value_ranges import check_values

_COLUMNS = ["id", "input_ids", "captured", "topk_ids", "topk_logits", "tail_logmass"]
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *((name, pa.list_(pa.int32())) for name in ("input_ids", "attention_mask", "labels")),
        ("target_token_ids", pa.list_(pa.list_(pa.int32()))),
        ("target_logprobs", pa.list_(pa.list_(pa.float32()))),
        ("target_mask", pa.list_(pa.list_(pa.int32()))),
    ]
)


def export_dump(settings: ExportSettings, report: Report = ignore) -> int:
    """Exports; gives the number of rows. The file has its name only when it is whole.

    Raises:
        ConflictError: there is something at `out`.
        DamagedError: a shard is bad.
    """
    out = Path(settings.out)
    if out.exists():
        raise ConflictError(f"{out} exists; nothing is overwritten. Choose another --out.")
    dump, count = open_dump(settings.dump), 0
    total = sum(shard.rows for shard in dump.shards)
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        with explained(out), pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer:
            for table in _tables(dump):
                writer.write_table(table)
                count += table.num_rows
                report(Progress(stage="export", done=count, total=total, unit="rows"))
        temporary.rename(out)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _tables(dump: DumpFolder) -> Iterator[pa.Table]:
    for shard in dump.shards:
        file = dump.shard_file(shard)
        for group in range(file.num_row_groups):
            with dump.reading(shard.name):
                table = file.read_row_group(group, columns=_COLUMNS)
            check_values(table, dump.manifest, shard.name)
            rows = [axolotl_row(row) for row in table.to_pylist()]
            yield pa.Table.from_pylist(rows, schema=_SCHEMA)
