import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import potstill as api
from pipeline.dataset_files import dump_files
from schemas import ranking
from schemas.dump_folder import open_dump
from schemas.errors import DamagedError
from schemas.manifest import Capture
from schemas.verify import verify
from stage2_student.stream import StreamSettings, open_stream
from tests.dumps import write_dump
from tests.pipeline.command_line import potstill


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A plain dump and the same in the compact profile."""
    folder = tmp_path_factory.mktemp("ranking")
    capture = Capture(top_k=16, tail_samples=16)
    plain = write_dump(folder / "plain", count=60, unit_size=20, capture=capture, longest=80).path
    ran = potstill("dataset", "reencode", plain, "--compact", "--out", folder / "compact")
    assert ran.code == 0, ran.err
    return plain, folder / "compact"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_KNOWN", {})


def test_readers_see_the_same_rows(dumps: tuple[Path, Path]) -> None:
    plain, compact = (list(api.open_dump(path).rows()) for path in dumps)
    assert [row.id for row in plain] == [row.id for row in compact]
    for one, two in zip(plain, compact, strict=True):
        for name in ("topk_ids", "topk_logprobs"):
            for a, b in zip(getattr(one, name), getattr(two, name), strict=True):
                np.testing.assert_array_equal(a, b)
    assert verify(str(dumps[1])).ok


def test_students_train_on_both_as_one(dumps: tuple[Path, Path]) -> None:
    settings = StreamSettings(rows_per_step=2, max_length=128, shuffle=False)
    batches = [next(iter(open_stream([open_dump(d)], settings).epoch_batches(0))) for d in dumps]
    for name in ("ids_NK", "logits_NK"):
        one, two = (getattr(batch.targets, name) for batch in batches)
        assert one.equal(two)


def test_what_is_stored_are_ranks(dumps: tuple[Path, Path]) -> None:
    ids = np.load(dumps[1] / "ids.npy")
    stored = pq.read_table(dumps[1] / "data")["topk_ids"].to_pylist()
    rows = list(api.open_dump(dumps[0]).rows())
    for position, expected in zip(stored[0], rows[0].topk_ids, strict=True):
        np.testing.assert_array_equal(ids[position], expected)
    flat = np.concatenate([np.concatenate(row) for row in stored])
    counts = np.bincount(flat, minlength=64)
    drawn = pq.read_table(dumps[1] / "data")["tail_ids"].to_pylist()
    for row in drawn:
        for position in row:
            counts += np.bincount(np.asarray(position, np.int64), minlength=64)
    assert np.all(np.diff(counts) <= 0), "the most frequent first"
    manifest = open_dump(dumps[1]).manifest
    assert manifest.codec == "gap5-ranked" and manifest.derived.steps[-1].operation == "reencode"


def test_and_back_again(dumps: tuple[Path, Path], tmp_path: Path) -> None:
    ran = potstill("dataset", "reencode", dumps[1], "--no-compact", "--out", tmp_path / "plain")
    assert ran.code == 0, ran.err
    assert open_dump(tmp_path / "plain").manifest.codec == "gap5"
    assert not (tmp_path / "plain" / "ids.npy").exists()
    again = potstill("dataset", "reencode", dumps[1], "--compact", "--out", tmp_path / "x")
    assert again.code == 2 and "as asked for already" in again.err
    ran = potstill("dataset", "reshard", dumps[1], "--out", tmp_path / "cut")
    assert ran.code == 0, ran.err
    assert open_dump(tmp_path / "cut").manifest.ranking is None


def test_the_table_travels_with_the_dump(dumps: tuple[Path, Path]) -> None:
    names = [file.name for file in dump_files(open_dump(dumps[1]))]
    assert "ids.npy" in names and names[-1] == "manifest.json"
    assert "ids.npy" not in [file.name for file in dump_files(open_dump(dumps[0]))]


@pytest.mark.parametrize("change", ["cut", "swap", "missing"])
def test_an_altered_table_is_refused(change: str, dumps: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "dump"
    shutil.copytree(dumps[1], copy)
    path = copy / "ids.npy"
    data = bytearray(path.read_bytes())
    if change == "swap":
        data[-4:], data[-8:-4] = data[-8:-4], data[-4:]
    path.unlink()
    if change != "missing":
        path.write_bytes(data[:-4] if change == "cut" else data)
    with pytest.raises(DamagedError, match=r"ids\.npy"):
        next(api.open_dump(copy).rows())


def test_a_rank_beyond_the_table_is_refused(dumps: tuple[Path, Path]) -> None:
    table = pq.read_table(dumps[1] / "data")
    with pytest.raises(DamagedError, match="rank"):
        ranking.mapped(table, np.arange(10, dtype=np.int32))


def test_a_manifest_that_says_half_is_refused(dumps: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "dump"
    shutil.copytree(dumps[1], copy)
    text = json.loads((copy / "manifest.json").read_text())
    del text["ranking"]
    (copy / "manifest.json").write_text(json.dumps(text))
    with pytest.raises(DamagedError, match="how ids are stored"):
        open_dump(copy)
