"""The same rows in shards of another size, in row groups as the format recommends them."""

from pipeline.dataset_derived import derived_settings, without_hidden
from pipeline.dataset_folder import check_free
from pipeline.dataset_making import Made, Making, make_dump
from pipeline.dataset_rows import Wanted, read_rows
from pipeline.dataset_settings import ReshardSettings
from schemas.columns import shard_columns
from schemas.dump_folder import open_dump
from schemas.progress import Report, ignore


def reshard(settings: ReshardSettings, report: Report = ignore) -> Made:
    """Cuts a dump into other shards.

    Raises:
        ConflictError: there is something at `out`.
        DamagedError: a shard is bad.
    """
    check_free(settings.out)
    dump = open_dump(settings.dump)
    target = derived_settings(
        [dump], "reshard", settings.model_dump(include={"shard_size", "hidden"})
    )
    if not settings.hidden:
        target = target.model_copy(update={"capture": without_hidden(target.capture)})
    capture = target.capture
    wanted = Wanted(
        columns=shard_columns(capture.temperatures, capture.optional_columns),
        hidden=bool(capture.hidden_layers),
    )
    making = Making(
        out=settings.out,
        operation="reshard",
        model=dump,
        shard_mb=settings.shard_size,
        rows=sum(shard.rows for shard in dump.shards),
    )
    return make_dump(making, target, read_rows(dump, wanted), report)
