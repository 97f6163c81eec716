"""Dumps in an S3 bucket and on the hub: read where they lie; what fails there is said."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from schemas.dump_folder import open_dump, open_dumps
from schemas.errors import InputError, PotstillError
from stage2_student.run import train
from tests.stage2_student.object_stores import KEYS, hub_server, s3_server
from tests.stage2_student.trainings import figures, make_training, same, weights


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    if not filesystem.exists("dumps"):
        filesystem.mkdir("dumps")
    yield "s3://dumps"
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_training_from_a_bucket_is_the_training_from_the_folder(bucket, tmp_path) -> None:
    local = make_training(tmp_path, steps=2)
    s3fs.S3FileSystem().put(local.dump[0], "dumps/night", recursive=True)
    remote = make_training(
        tmp_path,
        steps=2,
        dump=[f"{bucket}/ni*"],
        out=str(tmp_path / "remote"),
        max_tokens=40,
        cache=str(tmp_path / "cache"),
    )
    train(local)
    train(remote)
    assert any((tmp_path / "cache").iterdir())
    assert figures(local.out) == figures(remote.out)
    assert same(weights(local.out), weights(remote.out))
    assert [dump.url for dump in open_dumps(remote.dump)] == ["s3://dumps/night"]


def test_what_is_not_there_is_said(bucket: str) -> None:
    with pytest.raises(InputError, match="nothing at s3://dumps/nothing"):
        open_dump(f"{bucket}/nothing")
    with pytest.raises(InputError, match="nothing at s3://nobody/night"):
        open_dump("s3://nobody/night")
    with pytest.raises(InputError, match=r"no folder matches 's3://nobody/\*'"):
        open_dumps(["s3://nobody/*"])


@pytest.mark.parametrize("name", ["s3://dumps/night", "s3://dumps/*"])
def test_missing_credentials_are_said_with_where_to_give_them(bucket, name, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"needs credentials.*AWS_PROFILE"):
        open_dumps([name])


def test_a_network_that_is_down_is_temporary(bucket, monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(PotstillError, match="Try again later") as caught:
        open_dump(f"{bucket}/night")
    assert caught.value.exit_code == 5


READ = """
import sys
from schemas.dump_folder import open_dumps
from stage2_student.stream import StreamSettings, open_stream
stream = open_stream(open_dumps(sys.argv[1:]), StreamSettings(rows_per_step=2))
print(sum(len(batch.documents) for batch in stream.epoch_batches()))
"""


def test_a_dump_on_the_hub_is_read_where_it_lies(tmp_path: Path) -> None:
    """Against a stand-in; another process, since the hub's client reads its address at import."""
    from tests.dumps import write_dump

    write_dump(tmp_path / "files" / "night", count=12)
    with hub_server(tmp_path / "files", "org/dumps") as url:
        environment = {
            **os.environ,
            "HF_ENDPOINT": url,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "home"),
        }
        answers = [
            subprocess.run(
                [sys.executable, "-c", READ, f"hf://datasets/{name}"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            for name in ("org/dumps/ni*", "org/none/night")
        ]
    assert answers[0].stdout == "12\n", answers[0].stderr
    assert "there is nothing at hf://datasets/org/none/night" in answers[1].stderr
