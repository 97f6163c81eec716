"""A dump spread over Ray actors, for real: one of two is killed, and nothing is lost or doubled."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, InputError
from schemas.verify import verify
from stage1_teacher import ray_cluster
from stage1_teacher.ray_cluster import cluster, resources, set_environment
from stage1_teacher.ray_worker import forget_arrow_types
from stage1_teacher.run import dump
from stage1_teacher.settings import DumpSettings
from tests.tiny import tiny_teacher, write_rows

ROWS = 24


def settings(folder: Path, name: str, **more) -> DumpSettings:
    return DumpSettings(
        teacher=str(folder / "teacher"),
        corpus=str(folder / "rows.jsonl"),
        out=str(folder / name),
        license="unknown",
        dtype="float32",
        unit_size=2,
        max_failed="1",
        **more,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_teacher(tmp_path / "teacher")
    rows = [{"id": f"r{n}", "text": f"The stone finds {n} rivers."} for n in range(ROWS)]
    write_rows(tmp_path / "rows.jsonl", [*rows, {"id": "empty", "text": ""}])
    return tmp_path


def actors() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may be gone already
            found += [process] if "MapWorker" in " ".join(process.cmdline()) else []
    return found


def kill_one_actor(killed: list[int], out: Path, over: threading.Event) -> None:
    """As soon as something is committed, so that it is at work."""
    while not over.wait(0.05):
        if list(out.glob(".potstill/commits/*/*.json")) and (found := actors()):
            killed.append(found[0].pid)
            os.kill(found[0].pid, signal.SIGKILL)
            return


@pytest.mark.slow
def test_two_actors_share_a_dump_and_one_is_killed(folder: Path) -> None:
    killed: list[int] = []
    over = threading.Event()
    thread = threading.Thread(target=kill_one_actor, args=(killed, folder / "ray", over))
    thread.start()
    reports = []
    more = {"cluster": "ray", "cluster_workers": 2, "cpus_per_worker": 0.5}
    try:
        summary = dump(settings(folder, "ray", **more), reports.append)
    finally:
        over.set()
        thread.join()
    assert killed, "no actor was seen"
    assert (summary.rows, summary.failed, summary.units) == (ROWS, 1, 13)
    assert max(progress.done for progress in reports if progress.stage == "dump") == ROWS + 1
    assert verify(str(folder / "ray")).ok
    dump(settings(folder, "alone"))
    there, alone = rows_of(folder / "ray"), rows_of(folder / "alone")
    for row, other in zip(there, alone, strict=True):  # actors have other numbers of threads
        assert row.pop("token_logprobs") == pytest.approx(other.pop("token_logprobs"), abs=1e-5)
    assert there == alone
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "Ray's handler was left behind"


def rows_of(path: Path) -> list[dict]:
    found = open_dump(str(path))
    files = [found.shard_file(shard) for shard in found.shards]
    return [row for file in files for row in file.read().to_pylist()]


def test_ray_types_are_forgotten_before_anything_is_read() -> None:
    program = (
        "import pyarrow as pa, ray.data\n"
        "from stage1_teacher.ray_worker import _ARROW_TYPES, forget_arrow_types\n"
        "import ray.data._internal.object_extensions.arrow as objects\n"
        "objects.ArrowPythonObjectType\n"
        "forget_arrow_types()\n"
        "for name in _ARROW_TYPES:\n"
        "    try:\n"
        "        pa.unregister_extension_type(name)\n"
        "    except KeyError:\n"
        "        continue\n"
        "    raise SystemExit(name)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_forgetting_is_needed_and_can_be_repeated() -> None:
    class Pickled(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.binary(), "ray.data.arrow_pickled_object")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type, serialized):
            return cls()

    pa.register_extension_type(Pickled())
    forget_arrow_types()
    with pytest.raises(KeyError):
        pa.unregister_extension_type("ray.data.arrow_pickled_object")
    forget_arrow_types()


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ConfigError, match=r"pip install 'potstill\[ray\]'"),
        cluster(DumpSettings(teacher="t", corpus="c", out="o", cluster="ray")),
    ):
        pass


def test_ray_may_have_been_imported_before_by_others(monkeypatch, caplog) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "")  # so that it is put back afterwards
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    set_environment()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert not caplog.records
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setitem(sys.modules, "ray", FakeRay)
    set_environment()
    assert "RAY_AUTH_MODE" not in os.environ
    assert "Ray was imported before, without RAY_AUTH_MODE=token" in caplog.text


class BusyRay:
    """Its first start takes too long, as on a busy machine, and leaves a process."""

    def __init__(self) -> None:
        self.left: list[psutil.Process] = []

    def init(self, **_) -> None:
        if not self.left:
            self.left.append(psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
            raise Exception("The current node timed out during startup.")

    def shutdown(self) -> None:
        pass


def test_a_start_that_fails_is_tried_again_and_leaves_no_process(caplog) -> None:
    ray = BusyRay()
    ray_cluster._start(ray, DumpSettings(teacher="t", corpus="c", out="o", cluster="ray"))
    assert "Ray did not start (The current node timed out during startup.)" in caplog.text
    assert [process.is_running() for process in ray.left] == [False]


class FakeRay:
    @staticmethod
    def cluster_resources() -> dict[str, float]:
        return {"CPU": 2.0}


def test_more_than_this_machine_has_is_refused_instead_of_waited_for() -> None:
    asked = DumpSettings(teacher="t", corpus="c", out="o", cluster="ray", gpus_per_worker=0.5)
    with pytest.raises(ConfigError, match=r"0.5 GPU each need 0.5; this machine has 0"):
        resources(FakeRay, asked)
    three = asked.model_copy(update={"gpus_per_worker": None, "cluster_workers": 3})
    with pytest.raises(ConfigError, match="--cpus-per-worker"):
        resources(FakeRay, three)
    named = asked.model_copy(update={"ray_address": "10.0.0.1:6379"})
    assert resources(FakeRay, named) == {"num_cpus": 1.0, "num_gpus": 0.5}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"cluster_workers": 2}, "--cluster-workers is of a cluster"),
        ({"ray_address": "auto"}, "--cluster ray"),
        ({"cluster": "ray", "worker": "1/2"}, "--worker"),
        ({"cluster": "ray", "cluster_workers": 4, "cluster_most_workers": 2}, "at least as many"),
    ],
)
def test_options_that_contradict_each_other_are_refused(more, told) -> None:
    with pytest.raises(InputError, match=told):
        DumpSettings(teacher="t", corpus="c", out="o", **more)
