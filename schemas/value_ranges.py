"""Range checks on the numbers of a row group: a dump is untrusted input. SIGNATURE."""

import pyarrow as pa

from schemas.manifest import Manifest


def check_values(table: pa.Table, manifest: Manifest, where: str) -> None:
    """Checks every column present in `table` (a projection will do), vectorised.

    Args:
        table: one row group, or rows of one.
        manifest: head size and capture policy of the dump.
        where: the shard's name, for the message.

    Raises:
        DamagedError: an id outside the head, a positive or non-finite number, entries not
            descending, or lists whose lengths disagree.
    """
    raise NotImplementedError
