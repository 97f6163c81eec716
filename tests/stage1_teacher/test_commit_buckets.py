"""The commit protocol in buckets: every call may fail, every other worker may be faster."""

import pytest

from schemas import layout
from schemas.dump_folder import open_dump
from schemas.errors import InputError, PotstillError, TemporaryError
from schemas.storage_object import ObjectStore
from schemas.storage_posix import PosixStore
from tests.stage1_teacher.buckets import Bucket, attempt, check_whole, empty, finish, join
from tests.stage1_teacher.commit_runs import COUNTS, content

pytestmark = pytest.mark.usefixtures("fresh_buckets")


def test_a_whole_run_in_a_bucket() -> None:
    manifest = finish("bucket://b/night")
    assert check_whole(ObjectStore("bucket://b/night")) == manifest
    assert open_dump("bucket://b/night").manifest == manifest
    work = join("bucket://b/night")
    assert work.complete and list(work.units()) == [] and work.finalise() == manifest


def test_a_run_in_a_bucket_continues() -> None:
    work = join("bucket://b/night")
    assert work.plan.store_class == "conditional"
    assert attempt(work, 1)
    again = join("bucket://b/night")
    assert (again.missing(), again.rows_done) == ([0, 2], 8)
    assert finish("bucket://b/night") == check_whole(ObjectStore("bucket://b/night"))


@pytest.mark.parametrize(
    ("moment", "sticky", "error"),
    [
        ("before", False, ConnectionError("lost")),
        ("after", False, ConnectionError("lost")),
        ("before", True, PermissionError("expired")),
        ("after", True, ConnectionError("lost")),
    ],
)
def test_every_call_to_a_bucket_fails(moment: str, sticky: bool, error: OSError) -> None:
    """Instead of the call, or although it was done; once, or from then on."""
    finish("bucket://b/dry")
    points = Bucket.calls
    assert points > 50
    for point in range(points):
        empty()

        def fail(number: int, point: int = point) -> None:
            if number == point or (sticky and number > point):
                raise error

        setattr(Bucket, moment, staticmethod(fail))
        try:
            finish("bucket://b/night")
        except PotstillError as told:
            assert len(str(told)) > 40
        Bucket.before = Bucket.after = None
        finish("bucket://b/night", who="b")
        check_whole(ObjectStore("bucket://b/night"))


def test_another_worker_does_the_same_unit_at_every_call() -> None:
    won = set()
    for point in range(50):
        empty()
        join("bucket://b/night")
        mine, results = join("bucket://b/night"), []
        start = Bucket.calls

        def happen(number: int, at: int = point + start, into: list[bool] = results) -> None:
            if number == at:
                into.append(attempt(join("bucket://b/night"), 1, "b"))

        Bucket.before = staticmethod(happen)
        results.append(attempt(mine, 1, "a"))
        Bucket.before = None
        assert sum(results) == 1, "exactly one wins"
        won.add(tuple(results))
        finish("bucket://b/night")
        check_whole(ObjectStore("bucket://b/night"))
    assert {(True, False), (True,)} <= won


def test_an_expired_permission_leaves_the_shard_since_nothing_is_certain() -> None:
    """An earlier try of the same request may have been applied."""
    work = join("bucket://b/night")

    def expired(number: int) -> None:
        if number > start:
            raise PermissionError("expired")

    with work.attempt(0) as one:
        one.sink.write(content(0, "a"))
        start = Bucket.calls
        Bucket.before = staticmethod(expired)
        with pytest.raises((InputError, TemporaryError)):
            one.commit(COUNTS)
    Bucket.before = None
    assert len(ObjectStore("bucket://b/night").sizes("data")) == 1
    finish("bucket://b/night", who="b")
    check_whole(ObjectStore("bucket://b/night"))


def test_a_dump_that_begins_between_two_looks_is_joined(tmp_path) -> None:
    """It used to be taken for a folder that holds something else."""

    class Late(PosixStore):
        def names(self, folder: str) -> list[str]:
            if not (self.root / layout.PLAN).exists():
                finish(self.root, "b")
            return super().names(folder)

    store = Late(tmp_path / "d")
    store.root.mkdir()
    assert join(tmp_path / "d", store).complete
