"""What a piece of work costs this process: CPU time, and memory at its peak."""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

Work = Callable[[], object]


def cpu_seconds(work: Work) -> float:
    """CPU time of all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def interleaved(ways: dict[str, Work], repeats: int, tokens: int) -> dict[str, list[float]]:
    """CPU microseconds per token of each way, in rounds; what ran first has no advantage."""
    for work in ways.values():
        work()  # warms caches and buffers
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            spent[name].append(cpu_seconds(work) / tokens * 1e6)
    return spent


def share(base: list[float], ours: list[float]) -> float:
    """Median over the rounds of the first's time over the second's."""
    return round(statistics.median(b / o for b, o in zip(base, ours, strict=True)), 4)


def peak_mib(work: Work) -> float:
    """The process's peak beyond where it stood."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before shall not serve now
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status_kib("VmRSS")
    work()
    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
