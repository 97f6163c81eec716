"""The commit protocol: nothing lost, nothing doubled, whoever dies or fails when."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas import layout
from schemas.errors import (
    ConflictError,
    DamagedError,
    FormatError,
    InputError,
    PotstillError,
    TemporaryError,
)
from schemas.manifest import Alignment, Capture, Manifest, Settings, Statistics, plan_identity
from schemas.shard_sums import ShardCounts
from schemas.storage_posix import PosixStore
from schemas.strict_json import parse_model
from stage1_teacher.commit import Work, open_work
from stage1_teacher.commit_leases import LEASE_SECONDS, Leases
from stage1_teacher.commit_plan import MOST_UNITS
from tests.dumps import make_settings, write_dump
from tests.shimmed_os import ShimmedOs, crash_at, fail_at, run_forked

UNITS = [(0, 8), (8, 16), (16, 20)]
RACED = 10
"""By so many calls two runs may differ: the eight racers of the probe make folders together."""

NOTHING = Alignment(positions=0, shift_minus_1=None, shift_0=None, shift_plus_1=None)
COUNTS = ShardCounts(
    rows=8,
    tokens=80,
    positions=70,
    statistics=Statistics(kept=5, drawn=1, tail_mass=0.5, negative_logprob=1.0, alignment=NOTHING),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: thousands of fsyncs are tested here."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="potstill-test-", dir=parent))
    yield path
    shutil.rmtree(path)


def settings(**changes: Any) -> Settings:
    return make_settings(Capture(**changes), rows=20)


def join(path: Path, calls: Any = os, **changes: Any) -> Work:
    store = PosixStore(path, calls)
    return open_work(path, settings(**changes), UNITS, created_by="test", store=store)


def content(unit: int, who: str) -> bytes:
    return f"shard of {unit} by {who}".encode()


def attempt(work: Work, unit: int, who: str = "a", hidden: bool = False) -> bool:
    with work.attempt(unit) as one:
        one.sink.write(content(unit, who))
        if hidden:
            one.hidden_sink.write(content(unit, who) + b" hidden")
        return one.commit(COUNTS)


def finish(path: Path, calls: Any = os, who: str = "a") -> Manifest:
    """A whole worker: joins, computes what is missing, finalises."""
    work = join(path, calls)
    work._sleep = lambda seconds: time.sleep(seconds / 100)
    for unit in work.units():
        attempt(work, unit, who)
    work.publish("README.md", b"card")
    return work.finalise()


def check_whole(path: Path) -> Manifest:
    """The invariant: the manifest names one shard per unit, whole, and nothing else is there."""
    manifest = parse_model(Manifest, (path / layout.MANIFEST).read_bytes(), "manifest.json")
    assert [shard.unit for shard in manifest.shards] == [0, 1, 2]
    for shard in manifest.shards:
        data = (path / layout.DATA / shard.name).read_bytes()
        assert data.startswith(f"shard of {shard.unit} by".encode())
        assert len(data) == shard.bytes
        assert "sha256:" + hashlib.sha256(data).hexdigest() == shard.sha256
    return manifest


def files(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}


def check_tidy(path: Path, manifest: Manifest) -> None:
    records = {layout.record_path(unit) for unit in range(3)}
    shards = {f"data/{shard.name}" for shard in manifest.shards}
    assert files(path) == {"README.md", layout.MANIFEST, layout.PLAN} | records | shards


def calls_of_a_run(folder: Path) -> int:
    shim = ShimmedOs()
    finish(folder / "dry", shim)
    return shim.calls


def test_a_whole_run(folder: Path) -> None:
    manifest = finish(folder / "d")
    assert check_whole(folder / "d") == manifest
    check_tidy(folder / "d", manifest)
    work = join(folder / "d")
    assert work.complete and work.missing() == [] and list(work.units()) == []
    assert work.finalise() == manifest


def test_a_run_continues(folder: Path) -> None:
    work = join(folder / "d")
    attempt(work, 1)
    again = join(folder / "d")
    assert again.missing() == [0, 2]
    assert again.plan == work.plan
    with pytest.raises(ConflictError, match=r"2 of 3 units are missing \(0, 2\)"):
        again.finalise()
    finish(folder / "d")
    check_whole(folder / "d")


def test_another_machine_may_turn_the_engines_knobs(folder: Path) -> None:
    """The first worker's stand in the manifest; they are no part of what a dump is compared by."""
    path = folder / "d"
    for options in ({"max_num_seqs": 4}, {"max_num_seqs": 8, "enforce_eager": True}, None):
        work = open_work(path, settings(), UNITS, created_by="test", engine_options=options)
        assert work.plan.engine_options == {"max_num_seqs": 4}
    manifest = finish(path)
    assert manifest.engine_options == {"max_num_seqs": 4}
    assert check_whole(path) == manifest
    assert manifest.plan == plan_identity(settings())
    other = finish(folder / "e")
    assert (other.engine_options, other.plan) == ({}, manifest.plan)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_call(folder: Path, moment: str) -> None:
    """Every call of a whole worker is a crash point; the next worker finishes the dump."""
    points = calls_of_a_run(folder)
    killed = 0
    for point in range(points + 20):
        path = folder / f"{point}"
        shim = ShimmedOs(**{moment: crash_at(point)})
        status = run_forked(lambda path=path, shim=shim: finish(path, shim))
        assert status == -9 or (status == 0 and point >= points - RACED)
        killed += status == -9
        if (path / layout.MANIFEST).exists():
            check_whole(path)
        check_tidy(path, finish(path, who="b"))
        check_whole(path)
        shutil.rmtree(path)
    assert points - RACED <= killed < points + 20, "every call was a crash point"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EEXIST])
def test_every_call_fails_once(folder: Path, moment: str, error: int) -> None:
    """The error may come instead of the call, or although the call was done: a lost answer."""
    for point in range(calls_of_a_run(folder)):
        path = folder / f"{point}"
        try:
            finish(path, ShimmedOs(**{moment: fail_at(point, error)}))
        except PotstillError as told:
            assert len(str(told)) > 40
        if (path / layout.MANIFEST).exists():
            check_whole(path)
        finish(path, who="b")
        check_whole(path)
        shutil.rmtree(path)


def test_another_worker_commits_at_every_call(folder: Path) -> None:
    """While A works on unit 1, B does the same unit, from start to end, between two calls of A."""
    won = set()
    for point in range(200):
        path = folder / f"{point}"
        join(path)
        shim = ShimmedOs()
        mine = join(path, shim)
        start, results = shim.calls, []

        # joining also cleans up
        shim.meanwhile(point + start, lambda p=path, r=results: r.append(attempt(join(p), 1, "b")))
        results.append(attempt(mine, 1, "a"))
        won.add(tuple(results))
        assert sum(results) == 1, "exactly one wins"
        assert len(list((path / "data").glob("part-000001-*"))) == 1, "the loser tidies up"
        finish(path)
        check_whole(path)
        shutil.rmtree(path)
        if len(results) == 1:
            break
    assert {(True, False), (False, True)} & won and (True,) in won


def test_a_finaliser_beside_a_finaliser_at_every_call(folder: Path) -> None:
    for point in range(200):
        path = folder / f"{point}"
        shim = ShimmedOs()
        work, done = join(path, shim), []
        for unit in work.missing():
            attempt(work, unit)
        start = shim.calls

        shim.meanwhile(point + start, lambda p=path, d=done: d.append(finish(p, who="b")))
        work.publish("README.md", b"card")
        assert work.finalise() == check_whole(path)
        check_tidy(path, work.finalise())
        assert done in ([], [work.manifest()])
        shutil.rmtree(path)
        if not done:
            break


def test_two_finalisers_write_the_same_bytes(folder: Path) -> None:
    work = join(folder / "d")
    for unit in work.missing():
        attempt(work, unit)
    shutil.copytree(folder / "d", folder / "e")
    first, second = join(folder / "d").finalise(), join(folder / "e").finalise()
    assert first == second
    assert (folder / "d" / layout.MANIFEST).read_bytes() == (
        folder / "e" / layout.MANIFEST
    ).read_bytes()


def test_many_processes_share_a_dump(folder: Path) -> None:
    """Some are killed at random calls; the rest finish."""
    random.seed(0)
    for round_number in range(4):
        path = folder / f"{round_number}"
        children = []
        for worker in range(5):
            point = random.randrange(300) if worker else None
            child = os.fork()
            if child == 0:
                shim = ShimmedOs(before=crash_at(point)) if point else os
                try:
                    finish(path, shim, who=str(worker))
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children.append(child)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
        assert statuses[0] == 0 and set(statuses) <= {0, -9}
        check_whole(path)


# What a reordering disk could lose: everything visible must be durable first.


def undurable(trace: list[tuple[str, tuple[Any, ...], Any]]) -> list[str]:
    """Names that became visible before their content, or meaningful before their folder entry."""
    paths: dict[int, str] = {}
    synced: set[str] = set()
    unsynced_entries: dict[str, str] = {}
    problems = []
    for name, args, result in trace:
        if name == "open":
            paths[result] = args[0]
        elif name == "fsync":
            synced.add(paths[args[0]])
            for entry, folder in list(unsynced_entries.items()):
                if folder == paths[args[0]]:
                    del unsynced_entries[entry]
        elif name == "mkdir":
            unsynced_entries[args[0]] = str(Path(args[0]).parent)
        elif name in ("rename", "link"):
            if args[0] not in synced:
                problems.append(f"{args[1]} became visible before its content was durable")
            meaningful = "commits" in args[1] or args[1].endswith(layout.MANIFEST)
            if meaningful:
                problems += [f"{args[1]} came before {entry}" for entry in unsynced_entries]
            unsynced_entries[args[1]] = str(Path(args[1]).parent)
    leases = f"/{layout.LEASES}"
    kept = [entry for entry in unsynced_entries if leases not in entry]
    return problems + [f"{entry} was never made durable" for entry in kept]


def test_durable_before_visible(folder: Path) -> None:
    shim = ShimmedOs()
    work = join(folder / "d", shim)
    for unit in work.missing():
        attempt(work, unit, hidden=True)
    work.finalise()
    assert undurable(shim.trace) == []


@pytest.mark.parametrize("dropped", range(7))
def test_every_fsync_of_a_commit_is_needed(folder: Path, dropped: int) -> None:
    """A seeded defect per fsync: the check above sees each one."""
    join(folder / "d")
    shim = ShimmedOs()
    assert attempt(join(folder / "d", shim), 0)
    start = next(i for i, (n, a, _) in enumerate(shim.trace) if n == "mkdir" and "data" in a[0])
    trace = shim.trace[start:]
    syncs = [i for i, (name, _, _) in enumerate(trace) if name == "fsync"]
    assert len(syncs) == 7
    assert undurable(trace) == []
    del trace[syncs[dropped]]
    assert undurable(trace)


# Outcomes of a commit.


class Lying(PosixStore):
    """Says that a record existed although it was just created here: what S3 clients do."""

    def create(self, name: str, data: bytes) -> bool:
        created = super().create(name, data)
        return created and layout.COMMITS not in name


class Forgetful(PosixStore):
    """Says for the first two times that the record exists, and creates nothing."""

    refusals = 2

    def create(self, name: str, data: bytes) -> bool:
        if layout.COMMITS in name and self.refusals:
            self.refusals -= 1
            return False
        return super().create(name, data)


class Unreadable(PosixStore):
    """Fails while creating a record, and cannot read it back either."""

    broken = False

    def create(self, name: str, data: bytes) -> bool:
        if layout.COMMITS in name:
            super().create(name, data)
            self.broken = True
            raise OSError(errno.EIO, "lost")
        return super().create(name, data)

    def read(self, name: str) -> bytes | None:
        if self.broken:
            raise OSError(errno.EIO, "still lost")
        return super().read(name)


def with_store(store: PosixStore) -> Work:
    return open_work(store.root, settings(), UNITS, created_by="test", store=store)


@pytest.mark.parametrize("kind", [Lying, Forgetful])
def test_my_record_is_mine_whatever_the_store_says(folder: Path, kind: type) -> None:
    work = with_store(kind(folder / "d"))
    assert attempt(work, 0)
    assert len(list((folder / "d/data").iterdir())) == 1
    assert join(folder / "d").missing() == [1, 2]


def test_an_unknown_outcome_deletes_nothing(folder: Path) -> None:
    work = with_store(Unreadable(folder / "d"))
    with pytest.raises(TemporaryError, match=r"not known.*Nothing was deleted"):
        attempt(work, 0)
    assert len(list((folder / "d/data").iterdir())) == 1
    assert join(folder / "d").missing() == [1, 2], "it had been committed after all"


def test_the_loser_deletes_its_own_shard_only(folder: Path) -> None:
    first, second = join(folder / "d"), join(folder / "d")
    with second.attempt(0) as late:
        late.sink.write(b"late")
        assert attempt(first, 0)
        assert late.commit(COUNTS) is False
    (left,) = (folder / "d/data").iterdir()
    assert left.read_bytes() == content(0, "a")


def test_an_attempt_that_is_left_leaves_nothing(folder: Path) -> None:
    work = join(folder / "d")
    with pytest.raises(KeyboardInterrupt), work.attempt(0) as one:
        one.sink.write(b"x" * (2 << 20))
        one.hidden_sink.write(b"y")
        raise KeyboardInterrupt
    assert not [name for name in files(folder / "d") if name != layout.PLAN]


def test_cleaning_never_touches_units_without_a_record(folder: Path) -> None:
    work = join(folder / "d")
    alive = work.attempt(2)
    alive.sink.write(b"shard of 2 by the living")
    stray = folder / "d/data/part-000001-abc.parquet"
    stray.write_bytes(b"not committed")
    attempt(join(folder / "d"), 0)
    orphan = folder / "d/data/part-000000-abc.parquet"
    orphan.write_bytes(b"lost")
    half = folder / "d/data/.part-000000-abd.parquet.00ff.tmp"
    half.write_bytes(b"lo")
    join(folder / "d")
    assert stray.exists() and not orphan.exists() and not half.exists()
    assert alive.commit(COUNTS)
    finish(folder / "d")
    check_tidy(folder / "d", check_whole(folder / "d"))


# Bad surroundings.


def test_other_settings_are_refused_field_by_field(folder: Path) -> None:
    join(folder / "d")
    with pytest.raises(ConflictError) as caught:
        join(folder / "d", top_k=8, min_prob=None)
    assert "capture.top_k: 8 here, 64 there" in str(caught.value)
    assert "capture.min_prob: none here, 0.001953125 there" in str(caught.value)
    finish(folder / "d")
    with pytest.raises(ConflictError, match=r"capture\.tail_samples: 3 here, 64 there"):
        join(folder / "d", tail_samples=3)


def test_other_units_are_refused(folder: Path) -> None:
    join(folder / "d")
    with pytest.raises(ConflictError, match="1 here, ending at row 20; 3 there"):
        open_work(folder / "d", settings(), [(0, 20)], created_by="test")


def test_too_many_units(folder: Path) -> None:
    units = [(i, i + 1) for i in range(MOST_UNITS + 1)]
    with pytest.raises(InputError, match="Raise --unit-size by a factor of 2"):
        open_work(folder / "d", settings(), units, created_by="test")
    assert not (folder / "d").exists()


def test_numbers_that_no_reader_takes_are_not_written(folder: Path) -> None:
    dump = write_dump(folder / "other", count=4)
    table = pq.read_table(next((folder / "other/data").iterdir()))
    other = settings().model_copy(update={"tokenizer": dump.manifest.tokenizer})
    work = open_work(folder / "d", other, UNITS, created_by="test")
    work.attempt(0).check(table)
    narrow = other.tokenizer.model_copy(update={"head_size": 8})
    narrow_settings = other.model_copy(update={"tokenizer": narrow})
    work = open_work(folder / "e", narrow_settings, UNITS, created_by="test")
    with pytest.raises(DamagedError, match=r"unit 0: .* head has 8 rows"):
        work.attempt(0).check(table)


def test_a_folder_with_something_else_is_left_alone(folder: Path) -> None:
    (folder / "thesis.tex").write_text("x")
    with pytest.raises(FormatError, match=r"holds no dump: found thesis\.tex"):
        join(folder)
    assert files(folder) == {"thesis.tex"}
    with pytest.raises(InputError, match="Choose another path"):
        join(folder / "thesis.tex")


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_full_disk_leaves_nothing_half_written(folder: Path, size: int) -> None:
    work = join(folder / "d")

    def full(number: int, name: str, args: tuple[Any, ...]) -> None:
        if name == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    work._store.calls = ShimmedOs(before=full)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no space left") as caught, work.attempt(0) as one:
        one.sink.write(b"x" * size)
        one.commit(COUNTS)
    assert caught.value.exit_code == 2
    assert not [name for name in files(folder / "d") if name != layout.PLAN]
    finish(folder / "d")
    check_whole(folder / "d")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(folder: Path) -> None:
    (folder / "d").mkdir(mode=0o500)
    with pytest.raises(InputError, match="no permission"):
        join(folder / "d")


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS])
def test_no_permission(folder: Path, error: int) -> None:
    def refuse(number: int, name: str, args: tuple[Any, ...]) -> None:
        if name == "mkdir":
            raise OSError(error, os.strerror(error))

    with pytest.raises(InputError, match="no permission") as caught:
        join(folder / "d", ShimmedOs(before=refuse))
    assert caught.value.exit_code == 2


def test_a_shard_that_vanished_is_named(folder: Path) -> None:
    work = join(folder / "d")
    for unit in work.missing():
        attempt(work, unit)
    gone = next((folder / "d/data").glob("part-000001-*"))
    gone.unlink()
    with pytest.raises(DamagedError, match=rf"{gone.name}.*found nothing.*commits/01/000001.json"):
        work.finalise()
    assert not (folder / "d" / layout.MANIFEST).exists()
    (folder / "d" / layout.record_path(1)).unlink()
    finish(folder / "d")
    check_whole(folder / "d")


def test_a_damaged_plan_or_record_is_named(folder: Path) -> None:
    work = join(folder / "d")
    attempt(work, 0)
    record = folder / "d" / layout.record_path(0)
    record.write_bytes(record.read_bytes()[:-20])
    with pytest.raises(DamagedError, match=r"commits/00/000000\.json.*computed anew"):
        finish(folder / "d")
    plan = folder / "d" / layout.PLAN
    value = json.loads(plan.read_bytes())
    value["settings"]["limits"]["seed"] += 1
    plan.write_text(json.dumps(value))
    with pytest.raises(DamagedError, match="does not hash to its checksum"):
        join(folder / "d")


def test_snapshots_grow(folder: Path) -> None:
    work = join(folder / "d")
    attempt(work, 2)
    assert [s.unit for s in work.snapshot().shards] == [2]
    attempt(work, 0)
    assert [s.unit for s in work.snapshot().shards] == [0, 2]
    assert work.snapshot() == work.snapshot()
    assert len(list((folder / "d" / layout.LEDGER).iterdir())) == 2


# Leases.


def test_leases_spread_the_work(folder: Path) -> None:
    one, two = join(folder / "d"), join(folder / "d")
    mine, yours = one.units(), two.units()
    taken = [next(mine), next(yours)]
    assert len(set(taken)) == 2
    for work, unit in zip((one, two), taken, strict=True):
        attempt(work, unit)
    attempt(one, next(mine))
    assert [*mine] == [*yours] == []


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_ends_by_the_observers_clock(folder: Path) -> None:
    store, clock = PosixStore(folder / "d"), Clock()
    mine = Leases(store, "me")
    other = Leases(store, "other", clock)
    assert mine.take(7) and mine.take(7)
    assert not other.take(7)
    clock.now += LEASE_SECONDS - 1
    assert not other.take(7)
    assert mine.take(7), "renewed: a new epoch"
    clock.now += 2
    assert not other.take(7)
    clock.now += LEASE_SECONDS
    assert other.take(7)
    assert not mine.take(7)


def test_a_lease_of_a_dead_process_is_free(folder: Path) -> None:
    store = PosixStore(folder / "d")
    assert run_forked(lambda: Leases(store, "dead").take(0) or os._exit(9)) == 0
    assert Leases(store, "me").take(0)


def test_a_lease_of_a_zombie_is_free(folder: Path) -> None:
    """Killed, and its parent has not asked for its status: it still has a process id."""
    store = PosixStore(folder / "d")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        Leases(store, "zombie").take(0)
        os.write(writing, b"x")
        os.kill(os.getpid(), signal.SIGKILL)
    os.read(reading, 1)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert Leases(store, "me").take(0)
    os.waitpid(child, 0)


def test_leases_are_given_back(folder: Path) -> None:
    work = join(folder / "d")
    units = work.units()
    next(units)
    assert list((folder / "d" / layout.LEASES).iterdir())
    units.close()
    assert not list((folder / "d" / layout.LEASES).iterdir())


def test_a_store_whose_leases_fail_still_works(folder: Path) -> None:
    """Correctness never reads them."""

    class NoLeases(PosixStore):
        def names(self, folder: str) -> list[str]:
            if folder == layout.LEASES:
                raise OSError(errno.EIO, "no leases")
            return super().names(folder)

    work = Work(NoLeases(folder / "d"), join(folder / "d").plan, sleep=lambda _: None)
    for unit in work.missing():
        attempt(work, unit)
    assert list(work.units()) == []


def test_waiting_is_said_once(folder: Path) -> None:
    holder = join(folder / "d")
    held = [*zip(range(3), holder.units(), strict=False)]
    messages = []
    waiter = join(folder / "d")
    waits = iter(range(10))

    def sleep(_: float) -> None:
        if next(waits) == 3:
            for unit in range(3):
                attempt(holder, unit)

    waiter._sleep = sleep
    for unit in (u for u, _ in held):
        assert holder._leases.take(unit)
    assert list(waiter.units(messages.append)) == []
    assert [m.message for m in messages] == ["waiting for other workers, who hold the last 3 units"]
