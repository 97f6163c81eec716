"""Failures of stores by what raises them; none is taken for damage, and none for a bug."""

import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from schemas.dump_folder import open_dump
from schemas.errors import DamagedError, InputError, TemporaryError
from schemas.store_failures import store_failure, store_failures
from tests.dumps import write_dump


def raised(library: str, name: str, base: type[Exception] = Exception, **attributes) -> Exception:
    """An error of another library's class."""
    error = type(name, (base,), {"__module__": f"{library}.exceptions"})("said so")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


class Answer:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (raised("botocore", "NoCredentialsError"), InputError, "AWS_ACCESS_KEY_ID"),
        (raised("botocore", "ProfileNotFound"), InputError, "needs credentials"),
        (raised("huggingface_hub", "LocalTokenNotFoundError", OSError), InputError, "hf auth"),
        (raised("huggingface_hub", "Error", OSError, response=Answer(403)), InputError, "may not"),
        (
            raised("huggingface_hub", "Error", OSError, response=Answer(502)),
            TemporaryError,
            "later",
        ),
        (PermissionError("Forbidden"), InputError, "may not be read: Forbidden"),
        (raised("botocore", "EndpointConnectionError"), TemporaryError, "Try again later"),
        (raised("aiohttp", "ClientPayloadError"), TemporaryError, "said so"),
        (ConnectionResetError("gone"), TemporaryError, "there could not be read: gone"),
        (TimeoutError("slow"), TemporaryError, "slow"),
    ],
)
def test_each_kind(error: Exception, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught, store_failures("there"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("x"), ValueError("x"), OSError("x"), KeyError("x"), DamagedError("x")],
)
def test_what_is_no_failure_of_a_store_stays_what_it_is(error: Exception) -> None:
    assert store_failure(error, "there") is None
    with pytest.raises(type(error)), store_failures("there"):
        raise error


def test_a_store_that_fails_in_the_middle_of_a_shard_has_not_damaged_it(
    tmp_path, monkeypatch
) -> None:
    dump = write_dump(tmp_path / "dump", count=8)
    MemoryFileSystem().put(str(dump.path), "/failing", recursive=True)
    opened = open_dump("memory://failing")
    file = opened.shard_file(opened.shards[0])

    def fail(*_: object) -> bytes:
        raise raised("botocore", "ReadTimeoutError")

    monkeypatch.setattr(MemoryFile, "read", fail)
    with (
        pytest.raises(TemporaryError, match=r"data/.* in memory://failing could not be read"),
        opened.reading(f"data/{opened.shards[0].name}"),
    ):
        file.read_row_group(0)


def test_a_store_that_fails_at_the_first_file_says_so(tmp_path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised("botocore", "EndpointConnectionError")

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    with pytest.raises(TemporaryError):
        open_dump("memory://anywhere")
