"""`--cluster ray`: the missing units of a dump, spread over Ray Data actors.

Ray places the actors, starts more as a cluster grows, and runs again what a lost actor left. It
decides nothing about the dump: that is done by the records, as everywhere.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from schemas.errors import PotstillError, TemporaryError
from stage1_teacher.commit import Work
from stage1_teacher.dump_progress import Meter
from stage1_teacher.ray_cluster import cluster, resources
from stage1_teacher.ray_worker import RayWorker, forget_arrow_types
from stage1_teacher.settings import DumpSettings

_MOST_TASKS = 4096


def run_on_ray(settings: DumpSettings, work: Work, meter: Meter, created_by: str) -> int:
    """Computes the missing units; gives how many are no longer missing.

    Raises:
        ConfigError: Ray is not installed, or the cluster has not what an actor asks for.
        TemporaryError: the cluster cannot be reached, or failed.
        PotstillError: what an actor raised.
    """
    missing = work.missing()
    if not missing:
        return 0
    with cluster(settings) as ray:
        asked = resources(ray, settings)
        meter.start(work.rows_done)
        rows = work.rows_done
        with _explained():
            for found in _results(ray, settings, missing, (asked, created_by)):
                rows += found["rows"]
                meter.begin(found["rows"], found["tokens"])
                meter.tick(found["tokens"])
                meter.commit(rows, found["bytes"], found["tokens"])
    left = work.missing()
    meter.commit(work.rows_done, 0, 0)  # an actor may have died between its record and its answer
    if left:
        raise TemporaryError(
            f"Ray came to its end, and {len(left)} units are missing. Run the same command again: "
            "it continues."
        )
    return len(missing) - len(left)


def _results(
    ray: Any, settings: DumpSettings, units: list[int], with_: tuple[dict[str, float], str]
) -> Iterator[dict[str, int]]:
    import ray.data as ray_data

    asked, created_by = with_
    workers = settings.cluster_workers or 1
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    given = ray_data.from_items(
        [{"unit": unit} for unit in units], override_num_blocks=min(len(units), _MOST_TASKS)
    )
    answers = given.map_batches(
        RayWorker,
        fn_constructor_args=(settings.model_dump(mode="json"), created_by),
        batch_size=1,
        batch_format="numpy",
        compute=ray_data.ActorPoolStrategy(
            min_size=workers,
            max_size=max(workers, settings.cluster_most_workers or workers),
            max_tasks_in_flight_per_actor=1,
        ),
        num_cpus=asked["num_cpus"],
        num_gpus=asked["num_gpus"],
    )
    forget_arrow_types()
    yield from answers.iter_rows()


@contextmanager
def _explained() -> Iterator[None]:
    """Raises what an actor raised, as it was; anything else of Ray as temporary."""
    import ray.exceptions

    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, PotstillError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is not None:
            raise cause from None
        raise TemporaryError(
            f"Ray failed: {str(error)[-1000:]}. Finished units are kept: run the same command "
            "again."
        ) from error
