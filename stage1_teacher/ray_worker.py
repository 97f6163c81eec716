"""What runs in a Ray actor: a worker with a teacher of its own, given units one by one.

It prepares itself as every worker does, so that a node with another teacher or another corpus is
refused, and commits by the dump's own protocol: a task that Ray runs twice does no harm.
"""

import contextlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.storages import open_store
from stage1_teacher.commit import open_work
from stage1_teacher.control import Control
from stage1_teacher.dump_progress import Meter
from stage1_teacher.interruption import Interruption
from stage1_teacher.preparation import prepare
from stage1_teacher.settings import DumpSettings
from stage1_teacher.unit_worker import UnitWorker

Batch = dict[str, npt.NDArray[np.int64]]

_ARROW_TYPES = (
    *("ray.data.arrow_tensor", "ray.data.arrow_tensor_v2"),
    *("ray.data.arrow_variable_shaped_tensor", "ray.data.arrow_pickled_object"),
)


def forget_arrow_types() -> None:
    """Unregisters Ray's Arrow types: a Parquet file that names one would run their code."""
    for name in _ARROW_TYPES:
        with contextlib.suppress(KeyError):
            pa.unregister_extension_type(name)


class RayWorker:
    """Computes the units that Ray hands it.

    Args of the constructor:
        settings: the fields of a DumpSettings.
        created_by: program and version.
    """

    def __init__(self, settings: dict[str, Any], created_by: str) -> None:
        forget_arrow_types()
        asked = DumpSettings(**settings)
        prepared = prepare(asked, _silent)
        self._work = open_work(
            asked.out,
            prepared.settings,
            prepared.units,
            created_by=created_by,
            engine_options=prepared.engine_options,
        )
        store = open_store(asked.out)
        self._meter = Meter(report=_silent, total=prepared.settings.corpus.rows)
        self._worker = UnitWorker(
            work=self._work,
            prepared=prepared,
            meter=self._meter,
            control=Control(store, Interruption(), _silent),
            store=store,
        )

    def __call__(self, batch: Batch) -> Batch:
        """One unit per batch; gives its rows, tokens and bytes, zeros where it was done already."""
        found = [self._compute(int(unit)) for unit in batch["unit"]]
        rows = np.array(found, np.int64).reshape(-1, 4)
        return {name: rows[:, column] for column, name in enumerate(COLUMNS)}

    def _compute(self, unit: int) -> tuple[int, int, int, int]:
        if self._work.is_done(unit):
            return unit, 0, 0, 0
        tokens, size = self._meter.shard_tokens, self._meter.bytes
        self._worker.compute(unit)
        start, end = self._work.plan.units[unit]
        return unit, end - start, self._meter.shard_tokens - tokens, self._meter.bytes - size


COLUMNS = ("unit", "rows", "tokens", "bytes")
"""Of the batches that come back."""


def _silent(_: object) -> None:
    """The driver reports."""
