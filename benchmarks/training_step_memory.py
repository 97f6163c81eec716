"""Peak memory of training steps in this process; part of benchmarks.training_step."""

import ctypes
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Of resident memory, in MiB.

    Attributes:
        whole: above what the process held before it made the student.
        beyond_rest: above what it holds between two steps: weights and the optimizer's moments.
    """

    whole: float
    beyond_rest: float


def own_peaks(make: Callable[[], Callable[[], object]]) -> Peaks:
    """Makes what runs a step, and measures three steps; then a fourth by itself."""
    before = _resident("VmRSS")
    run = make()
    for _ in range(_STEPS):
        run()
    whole = _resident("VmHWM") - before
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    rest = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # from here on VmHWM counts anew
    run()
    return Peaks(whole=round(whole, 1), beyond_rest=round(_resident("VmHWM") - rest, 1))


def memory_ratios(peaks: Mapping[str, Peaks], own: str) -> dict[str, float]:
    """Of the arm `own` to every other one."""
    ours = peaks[own]
    ratios = {}
    for arm, peak in peaks.items():
        if arm != own:
            ratios[f"step, peak memory: fkl / {arm}"] = round(ours.whole / peak.whole, 3)
            ratios[f"step, peak memory beyond weights and moments: fkl / {arm}"] = round(
                ours.beyond_rest / peak.beyond_rest, 3
            )
    return ratios


def _resident(key: str) -> float:
    """MiB of a line of /proc/self/status: unlike getrusage it does not inherit a parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
