"""A Ray cluster to run on: of this machine alone, or the one that was named."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigError, TemporaryError
from stage1_teacher.settings import DumpSettings

if TYPE_CHECKING:
    import psutil

_log = logging.getLogger(__name__)

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_AUTH = "RAY_AUTH_MODE"
_START_TRIES = 5
_REAP_SECONDS = 10.0
_OBJECT_BYTES = 100 << 20
"""Ray's smallest object store is larger; what travels are unit numbers."""


def set_environment() -> None:
    """What Ray reads when it is imported; to be called before anything imports it, as vLLM does.

    Ray's ports may be reached from outside, so it is asked to want a token that only this user
    has. It notes that at its import, once: asked for later, its own processes would want a token
    which this one does not send.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "ray" not in sys.modules:
        os.environ.setdefault(_AUTH, "token")
    elif _AUTH not in os.environ:
        _log.warning(
            "Ray was imported before, without %s=token: whoever reaches this machine's ports can "
            "use it. Set the variable before the start.",
            _AUTH,
        )


@contextmanager
def cluster(settings: DumpSettings) -> Iterator[Any]:
    """Inside, Ray is there: a cluster of this machine alone, or the one that was named."""
    set_environment()
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
    """On a busy machine Ray's own wait for its processes may be too short: tried again.

    It gives them 15 s, a constant (https://github.com/ray-project/ray/issues/65983).
    """
    for left in reversed(range(_START_TRIES)):
        before = _children()
        try:
            ray.init(**_place(settings), log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # Ray raises plain ones, too
            ray.shutdown()
            _end(_children() - before)
            if left and settings.ray_address is None:
                _log.warning("Ray did not start (%s); trying again", error)
                continue
            where = f"the Ray cluster at {settings.ray_address}" if settings.ray_address else "Ray"
            raise TemporaryError(
                f"{where} cannot be reached or started: {error} Check the address and `ray "
                "status`, and try again."
            ) from error


def _children() -> "set[psutil.Process]":
    import psutil

    return set(psutil.Process().children())


def _end(processes: "set[psutil.Process]") -> None:
    """Ends what a start that failed left running, which `ray.shutdown` does not."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(processes), timeout=_REAP_SECONDS)


def _place(settings: DumpSettings) -> dict[str, Any]:
    if settings.ray_address is not None:
        return {"address": settings.ray_address}
    return {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": _OBJECT_BYTES,
        "_node_ip_address": "127.0.0.1",
    }


def resources(ray: Any, settings: DumpSettings) -> dict[str, float]:
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
