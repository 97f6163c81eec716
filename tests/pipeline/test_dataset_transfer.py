"""A dump goes to a store and comes back: only what is missing moves, and never half."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from pipeline.dataset_moves import Moved
from pipeline.dataset_pull import pull
from pipeline.dataset_push import push
from pipeline.dataset_settings import PullSettings, PushSettings
from schemas.dump_folder import open_dump
from schemas.errors import ConflictError, DamagedError, InputError, MismatchError, PotstillError
from tests.dumps import Dump, write_dump
from tests.pipeline.command_line import potstill
from tests.pipeline.datasets import nothing_left, whole
from tests.pipeline.writable_hub import writable_hub
from tests.stage2_student.object_stores import KEYS, s3_server


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    made = write_dump(tmp_path / "dump", count=24)
    (made.path / "README.md").write_text("card")
    return made


def pushed(dump: Dump, to: object, dry_run: bool = False) -> Moved:
    return push(PushSettings(dump=str(dump.path), to=str(to)), dry_run=dry_run)


def pulled(source: object, out: Path, dry_run: bool = False, **more: Any) -> Moved:
    return pull(PullSettings(dump=str(source), out=str(out), **more), dry_run=dry_run)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_there_and_back_only_what_is_missing(dump: Dump, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    assert pushed(dump, there, dry_run=True).copied and not there.exists()
    assert len(pushed(dump, there).copied) == 6
    assert contents(there) == contents(dump.path)
    assert pushed(dump, there).copied == []
    assert pulled(there, here, dry_run=True).files == 6 and not here.exists()
    pulled(there, here)
    assert contents(here) == contents(dump.path) and whole(here)
    assert pulled(there, here).copied == []


def test_a_pull_mends_a_copy(dump: Dump, tmp_path: Path) -> None:
    here = tmp_path / "here"
    pulled(dump.path, here)
    first, second = (here / "data" / shard.name for shard in dump.manifest.shards[:2])
    first.unlink()
    data = bytearray(second.read_bytes())
    data[100] ^= 1
    second.write_bytes(data)
    moved = pulled(dump.path, here)
    assert moved.copied == [f"data/{first.name}", f"data/{second.name}", "manifest.json"]
    assert whole(here)


def test_an_interrupted_push_is_no_dump_and_goes_on(dump: Dump, tmp_path, monkeypatch) -> None:
    there = tmp_path / "there"
    from pipeline.dataset_push import FolderPlace

    real = FolderPlace.put

    def full(self: FolderPlace, files: list) -> Iterator[str]:
        yield from real(self, files[:2])
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(FolderPlace, "put", full)
    with pytest.raises(
        InputError, match=r"no room for .*quota raised. 2 of 6 files .*the same command goes on"
    ):
        pushed(dump, there)
    with pytest.raises(InputError, match="is no dump"):
        open_dump(there)
    monkeypatch.setattr(FolderPlace, "put", real)
    assert len(pushed(dump, there).copied) == 4
    assert whole(there)


def test_a_place_with_something_else_is_left_alone(dump: Dump, tmp_path: Path) -> None:
    other = write_dump(tmp_path / "other", count=4, seed=1)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for place, words in ((other.path, "the dump sha256"), (mine, "thesis.txt")):
        before = contents(place)
        with pytest.raises(ConflictError, match=words):
            pushed(dump, place)
        with pytest.raises(ConflictError, match=words):
            pulled(dump.path, place)
        assert contents(place) == before
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/README.md").write_text("another card")
    with pytest.raises(ConflictError, match=r"README\.md"):
        pushed(dump, tmp_path / "shared")


def test_what_is_altered_does_not_travel(dump: Dump, tmp_path: Path) -> None:
    path = dump.path / "data" / dump.manifest.shards[1].name
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="nothing was copied"):
        pushed(dump, tmp_path / "there")
    with pytest.raises(DamagedError, match="It was not kept"):
        pulled(dump.path, tmp_path / "here")
    assert not (tmp_path / "there").exists()
    assert not (tmp_path / "here/manifest.json").exists()
    assert not [p for p in (tmp_path / "here").rglob("*") if p.name.endswith(".tmp")]


def test_a_pull_of_another_dump_than_expected(dump: Dump, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="not the expected one"):
        pulled(dump.path, tmp_path / "here", expect="sha256:" + "0" * 64)
    with pytest.raises(InputError, match="no local folder"):
        pulled(dump.path, "s3://bucket/x")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


def test_a_bucket(dump: Dump, tmp_path: Path, server: str, monkeypatch) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("team")
    ran = potstill("dataset", "push", dump.path, "--to", "s3://team/night", "--json")
    assert ran.code == 0, ran.err
    assert len(ran.lines[-1]["copied"]) == 6
    assert pushed(dump, "s3://team/night").copied == []
    s3fs.S3FileSystem().rm(f"team/night/data/{dump.manifest.shards[0].name}")
    assert len(pushed(dump, "s3://team/night").copied) == 1
    ran = potstill("dataset", "pull", "s3://team/night", "--out", tmp_path / "here")
    assert ran.code == 0 and whole(tmp_path / "here")
    assert contents(tmp_path / "here") == contents(dump.path)
    with pytest.raises(InputError, match="dataset pull"):
        push(PushSettings(dump="s3://team/night", to=str(tmp_path / "x")))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(PotstillError, match="credentials"):
        pushed(dump, "s3://team/other")
    s3fs.S3FileSystem.clear_instance_cache()


def hub(url: str, home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Another process, since the hub's client reads its address at import."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home)}
    environment |= {"HF_TOKEN": "hf_stand_in", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "dataset", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hub(dump: Dump, tmp_path: Path) -> None:
    """Against a stand-in: a quota in the middle, the rest later, and nothing over what is there."""
    root, to = tmp_path / "hub", "hf://datasets/org/night"
    sizes = [shard.bytes for shard in dump.manifest.shards]
    with writable_hub(root, "org/night", quota=sum(sizes) - 1) as url:
        ran = hub(url, tmp_path / "home", "push", dump.path, "--to", to)
        assert ran.returncode == 2, ran.stderr
        assert "no room for" in ran.stderr and "goes on" in ran.stderr
        assert not (root / "manifest.json").exists()
    with writable_hub(root, "org/night") as url:
        ran = hub(url, tmp_path / "home", "push", dump.path, "--to", to)
        assert ran.returncode == 0, ran.stderr
        shutil.rmtree(root / ".lfs", ignore_errors=True)
        assert contents(root) == contents(dump.path)
        again = hub(url, tmp_path / "home", "push", dump.path, "--to", to)
        assert "0 of 6 copied" in again.stdout, again.stderr
        other = write_dump(tmp_path / "other", count=4, seed=1)
        ran = hub(url, tmp_path / "home", "push", other.path, "--to", to)
        assert ran.returncode == 3 and "holds something else" in ran.stderr


def test_an_address_that_is_no_dataset(dump: Dump) -> None:
    for to in ("hf://org/model", "hf://datasets/org"):
        with pytest.raises(InputError, match="names no dataset"):
            pushed(dump, to)


def test_nothing_is_left_behind(dump: Dump, tmp_path: Path) -> None:
    pushed(dump, tmp_path / "there")
    assert nothing_left(tmp_path / "there", "README.md", "data", "manifest.json", "tokenizer")
