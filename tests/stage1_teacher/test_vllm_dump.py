"""Whole dumps by real vLLM, each in processes of its own: killed, continued, cut over ranks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas import layout
from schemas.verify import verify
from tests.stage1_teacher.vllm_teachers import vllm_teacher
from tests.tiny import write_rows

psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WORDS = ["the", "stone", "river", "garden", "teacher", "student", "counts", "two", "of", "them"]
ROWS = 120
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vllm")
    vllm_teacher(folder / "teacher")
    rng = np.random.default_rng(0)
    rows = [{"id": f"r{i}", "text": " ".join(rng.choice(WORDS, 30))} for i in range(ROWS)]
    write_rows(folder / "corpus.jsonl", rows)
    return folder


def command(place: Path, out: str, *more: object) -> list[str]:
    words = ["dump", "--teacher", place / "teacher", "--corpus", place / "corpus.jsonl"]
    words += ["--out", place / out, "--dtype", "float32", "--unit-size", 2, "--max-length", 128]
    return [sys.executable, "-m", "pipeline.cli", *map(str, words), "--json", *map(str, more)]


@contextmanager
def running(place: Path, words: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    with (place / "stderr").open("w") as log:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finished(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and stdout, of which every line must be JSON."""
    out, _ = process.communicate()
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def rows_of(dump: Path) -> dict[str, dict[str, Any]]:
    manifest = json.loads((dump / layout.MANIFEST).read_text())
    files = [dump / layout.DATA / shard["name"] for shard in manifest["shards"]]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def wait_for_units(dump: Path, process: subprocess.Popen[str], count: int) -> None:
    while len(list(dump.glob(f"{layout.COMMITS}/*/*.json"))) < count:
        assert process.poll() is None, "the dump ended before it was to be killed"
        time.sleep(0.005)


def test_kill_the_engine_in_mid_dump_and_run_again(place: Path) -> None:
    words = command(place, "killed", "--engine", "vllm", "--enforce-eager")
    with running(place, words, VLLM_ENABLE_V1_MULTIPROCESSING="1") as process:
        wait_for_units(place / "killed", process, 2)
        children = psutil.Process(process.pid).children(recursive=True)
        engine = max(children, key=lambda child: child.memory_info().rss)
        heard = [engine, psutil.Process(process.pid)]
        listening = [
            connection.laddr.ip
            for one in heard
            for connection in one.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        engine.send_signal(signal.SIGKILL)
        code, lines = finished(process)
    assert set(listening) <= LOOPBACK
    assert code == 5, (place / "stderr").read_text()[-2000:]
    assert lines[-1]["event"] == "error"
    assert "same command again" in lines[-1]["message"]
    assert not (place / "killed" / layout.MANIFEST).exists()

    again = [*words, "--max-num-seqs", "8"]  # a knob: another machine may turn it
    with running(place, again, VLLM_ENABLE_V1_MULTIPROCESSING="0") as process:
        code, lines = finished(process)
    assert code == 0, (place / "stderr").read_text()[-2000:]
    assert lines[-1]["event"] == "done"
    assert 0 < lines[-1]["units_done"] < ROWS // 2
    assert set(rows_of(place / "killed")) == {f"r{i}" for i in range(ROWS)}
    assert verify(str(place / "killed")).rows == ROWS
    manifest = json.loads((place / "killed" / layout.MANIFEST).read_text())
    assert manifest["engine_options"] == {"enforce_eager": True}
    assert manifest["engine"]["settings"]["mode"] == "capture"


def test_two_ranks_give_what_transformers_gives(place: Path) -> None:
    """Each rank holds half of the vocabulary, and reduces it where it is."""
    few = ["--limit", 24, "--unit-size", 24]
    words = command(place, "ranks", *few, "--engine", "vllm", "--enforce-eager")
    words += ["--tensor-parallel-size", "2"]
    with running(place, words, VLLM_CPU_OMP_THREADS_BIND="nobind") as process:
        code, _ = finished(process)
    assert code == 0, (place / "stderr").read_text()[-2000:]
    with running(place, command(place, "whole", *few)) as process:
        code, _ = finished(process)
    assert code == 0, (place / "stderr").read_text()[-2000:]
    manifest = json.loads((place / "ranks" / layout.MANIFEST).read_text())
    assert manifest["engine"]["settings"]["tensor_parallel_size"] == 2
    cut, whole = rows_of(place / "ranks"), rows_of(place / "whole")
    assert set(cut) == set(whole)
    for column, agreement in (("topk_ids", 0.99), ("tail_ids", 0.99)):
        same = [
            one == two
            for name in whole
            for one, two in zip(cut[name][column], whole[name][column], strict=True)
        ]
        assert np.mean(same) >= agreement
    for name, row in whole.items():
        np.testing.assert_allclose(cut[name]["token_logprobs"], row["token_logprobs"], atol=5e-4)
