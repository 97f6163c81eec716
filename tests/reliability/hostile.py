"""One dump per attack, opened as users open dumps, in a child that is watched.

The child verifies it, shows its summary and a sample, and reads it for training. Its verdict must
be an error of ours, in time and memory; a hook of the interpreter hears of every file that is
opened, every process, socket and unpickled class on the way.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.dump_folder import open_dump
from schemas.errors import PotstillError
from schemas.verify import verify
from tests.dumps import Dump, write_dump
from tests.reliability.attacks_files import FILES, PARQUET, VALUES
from tests.reliability.attacks_manifest import MANIFESTS, NAMES, SECRET, Attack
from tests.reliability.campaign import Outcome, Tier, scratch

SECONDS, MEMORY = 2.0, 512 << 20
ATTACKS: dict[str, dict[str, Attack]] = {
    "manifests": MANIFESTS,
    "names": NAMES,
    "files": FILES,
    "Parquet": PARQUET,
    "numbers": VALUES,
}
_READABLE = (
    sys.prefix,
    sys.base_prefix,
    str(Path(__file__).parents[2]),
    "/proc/",
    "/sys/",
    "/dev/null",
)
_FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect")
_FORBIDDEN += ("socket.getaddrinfo", "pickle.find_class", "ctypes.dlopen", "os.remove", "os.rename")
_FORBIDDEN += ("os.mkdir", "os.rmdir", "os.truncate", "shutil.", "ftplib.", "urllib.", "http.")
_MOST_SECONDS = 10
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def hostile(tier: Tier) -> Outcome:
    """Every attack once."""
    return attack_campaign(ATTACKS)


def attack_campaign(attacks: dict[str, dict[str, Attack]]) -> Outcome:
    """The same for some of them; a whole dump first, which must pass."""
    outcome = Outcome()
    with scratch() as folder:
        _warm_up(folder / "warm")
        slowest = largest = 0.0
        for kind, family in attacks.items():
            for name, attack in family.items():
                told = _attacked(folder, attack)
                outcome.count(kind)
                outcome.violate(f"{kind}: {name}", told["problems"])
                slowest, largest = max(slowest, told["seconds"]), max(largest, told["memory"])
        outcome.figures["slowest, seconds"] = round(slowest, 2)
        outcome.figures["most memory, MB"] = round(largest / 1e6)
    return outcome


def _warm_up(path: Path) -> None:
    """Imports what reading imports, so that no attack is blamed for it."""
    write_dump(path, count=12, unit_size=4)
    for name, entry in ENTRIES.items():
        if entry(path):
            raise RuntimeError(f"{name} refuses a whole dump")


def _attacked(folder: Path, attack: Attack) -> dict[str, Any]:
    path = folder / "attacked" / "dump"
    path.parent.mkdir()
    (path.parent / SECRET).write_text("nobody may read this")
    dump: Dump = write_dump(path, count=12, unit_size=4)
    attack(dump)
    told = _watched(path)
    _remove(path.parent)
    return told


def _watched(path: Path) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout's own only raises
        signal.alarm(_MOST_SECONDS)
        with os.fdopen(writing, "w") as out:
            json.dump(_look(path), out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as heard:
        text = heard.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status or not text:
        return {
            "problems": [f"the reader ended with {status}"],
            "seconds": _MOST_SECONDS,
            "memory": 0,
        }
    told: dict[str, Any] = json.loads(text)
    return told


def _look(path: Path) -> dict[str, Any]:
    """Runs in the child: every way in, with limits and the hook."""
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    virtual = _memory("VmSize") + 2 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (virtual, virtual))
    problems: list[str] = []
    sys.addaudithook(_hook(path, problems))
    slowest, refused = 0.0, 0
    for name, entry in ENTRIES.items():
        start = time.monotonic()
        try:
            refused += bool(entry(path))
        except PotstillError as error:
            refused += 1
            if len(str(error)) < 20:
                problems.append(f"{name} says only {error}")
        except BaseException as error:
            problems.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        slowest = max(slowest, time.monotonic() - start)
    memory = _memory("VmHWM") - before
    if not refused:
        problems.append("nothing refuses it")
    if slowest > SECONDS:
        problems.append(f"it took {slowest:.1f} s")
    if memory > MEMORY:
        problems.append(f"it took {memory >> 20} MB")
    return {"problems": problems, "seconds": slowest, "memory": memory}


def _verify(path: Path) -> bool:
    return not verify(str(path)).ok


def _inspect(path: Path) -> bool:
    from pipeline.inspection import sample, summary

    dump = open_dump(path)
    found = summary(dump)
    sample(dump, found["first_ids"][0])
    return False


def _train(path: Path) -> bool:
    from stage2_student.stream import StreamSettings, open_stream

    stream = open_stream([open_dump(path)], StreamSettings(rows_per_step=2))
    for _ in stream.epoch_batches(0):
        pass
    return False


ENTRIES: dict[str, Callable[[Path], bool]] = {
    "verify": _verify,
    "inspect": _inspect,
    "train": _train,
}
"""The ways into a dump: each says whether it refused by other means than an error."""


def _hook(path: Path, problems: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    inside = os.path.realpath(path)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            problems.append(f"{event} {args!r:.200}")
        if event == "open" and isinstance(args[0], str | bytes):
            name, flags = os.path.realpath(os.fsdecode(args[0])), args[2] or 0
            known = name.startswith((inside, *_READABLE))
            if flags & _WRITING or not known:
                problems.append(f"it opened {name} with {flags:o}")

    return hook


def _memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), key=lambda p: len(p.parts), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()
