"""`--cluster ray`: the missing units of a dump, spread over Ray Data actors.

Ray places the actors, starts more as a cluster grows, and runs again what a lost actor left. It
decides nothing about the dump: that is done by the records, as everywhere.
"""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from schemas.errors import ConfigError, PotstillError, TemporaryError
from stage1_teacher.commit import Work
from stage1_teacher.dump_progress import Meter
from stage1_teacher.ray_worker import RayWorker, forget_arrow_types
from stage1_teacher.settings import DumpSettings

_log = logging.getLogger(__name__)

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",  # its ports may be reached from outside; only this user has the token
}
_START_TRIES = 3
_MOST_TASKS = 4096
_OBJECT_BYTES = 100 << 20
"""Ray's smallest object store is larger; what travels are unit numbers."""


def run_on_ray(settings: DumpSettings, work: Work, meter: Meter, created_by: str) -> int:
    """Computes the missing units; gives how many.

    Raises:
        ConfigError: Ray is not installed, or the cluster has not what an actor asks for.
        TemporaryError: the cluster cannot be reached, or failed.
        PotstillError: what an actor raised.
    """
    missing = work.missing()
    if not missing:
        return 0
    done = 0
    with _cluster(settings) as ray:
        resources = _resources(ray, settings)
        meter.start(work.rows_done)
        rows = work.rows_done
        with _explained():
            for found in _results(ray, settings, missing, (resources, created_by)):
                rows += found["rows"]
                done += bool(found["rows"])
                meter.begin(found["rows"], found["tokens"])
                meter.tick(found["tokens"])
                meter.commit(rows, found["bytes"], found["tokens"])
    left = work.missing()
    if left:
        raise TemporaryError(
            f"Ray came to its end, and {len(left)} units are missing. Run the same command again: "
            "it continues."
        )
    return done


def _results(
    ray: Any, settings: DumpSettings, units: list[int], with_: tuple[dict[str, float], str]
) -> Iterator[dict[str, int]]:
    import ray.data as ray_data

    resources, created_by = with_
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
        num_cpus=resources["num_cpus"],
        num_gpus=resources["num_gpus"],
    )
    forget_arrow_types()
    yield from answers.iter_rows()


@contextmanager
def _cluster(settings: DumpSettings) -> Iterator[Any]:
    """Inside, Ray is there: a cluster of this machine alone, or the one that was named."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(
            "--cluster ray needs Ray, which is not installed. Install it: pip install "
            "'potstill[ray]'; or start the same command on each machine without --cluster."
        ) from error
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _start(ray, settings)
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own there, which ends the process
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, settings: DumpSettings) -> None:
    """On a busy machine Ray's own wait for its processes may be too short: tried again."""
    for left in reversed(range(_START_TRIES)):
        try:
            ray.init(**_place(settings), log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # Ray raises plain ones, too
            ray.shutdown()
            if left and settings.ray_address is None:
                _log.warning("Ray did not start (%s); trying again", error)
                continue
            where = f"the Ray cluster at {settings.ray_address}" if settings.ray_address else "Ray"
            raise TemporaryError(
                f"{where} cannot be reached or started: {error} Check the address and `ray "
                "status`, and try again."
            ) from error


def _place(settings: DumpSettings) -> dict[str, Any]:
    if settings.ray_address is not None:
        return {"address": settings.ray_address}
    return {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": _OBJECT_BYTES,
        "_node_ip_address": "127.0.0.1",
    }


def _resources(ray: Any, settings: DumpSettings) -> dict[str, float]:
    """What an actor asks for.

    Raises:
        ConfigError: this machine alone has not that much.
    """
    there = ray.cluster_resources()
    gpus = settings.gpus_per_worker
    asked = {
        "num_cpus": 1.0 if settings.cpus_per_worker is None else settings.cpus_per_worker,
        "num_gpus": (1.0 if there.get("GPU") else 0.0) if gpus is None else gpus,
    }
    workers = settings.cluster_workers or 1
    for name, kind in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        needed = workers * asked[name]
        if settings.ray_address is None and needed > there.get(kind, 0):
            raise ConfigError(
                f"{workers} workers with {asked[name]:g} {kind} each need {needed:g}; this machine "
                f"has {there.get(kind, 0):g}. Ask for less with --{kind.lower()}s-per-worker or "
                "--cluster-workers, or name a larger cluster with --ray-address."
            )
    return asked


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
