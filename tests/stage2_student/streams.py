"""Streams over a dump, and what is compared of them."""

from stage2_student.stream import StreamSettings

SETTINGS = StreamSettings(rows_per_step=4, max_length=48, seed=5)


def ids(batches) -> list[str]:
    return [document.id for batch in batches for document in batch.documents]
