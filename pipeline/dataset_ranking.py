"""The table of the compact profile: ids by how often a dump keeps them."""

import numpy as np

from schemas.dump_folder import DumpFolder
from schemas.progress import Progress, Report
from schemas.ranking import COLUMNS, Ints
from schemas.row_group import nested_column


def ranking_of(dump: DumpFolder, report: Report) -> Ints:
    """[V] the id of each rank, the most frequent first, ties by lowest id.

    Raises:
        DamagedError: a shard is bad.
    """
    counts = np.zeros(dump.manifest.tokenizer.head_size, np.int64)
    total = sum(shard.rows for shard in dump.shards)
    done = 0
    for shard in dump.shards:
        file = dump.shard_file(shard)
        for group in range(file.num_row_groups):
            with dump.reading(shard.name):
                table = file.read_row_group(group, columns=list(COLUMNS))
            for name in COLUMNS:
                ids = nested_column(table, name).values
                counts += np.bincount(ids[(ids >= 0) & (ids < len(counts))], minlength=len(counts))
            done += table.num_rows
            report(Progress(stage="count ids", done=done, total=total, unit="rows"))
    return np.argsort(-counts, kind="stable").astype(np.int32)
