"""The three commands that a finished quickstart prints, run as they are printed."""

import importlib.metadata
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from pipeline.quickstart import next_commands
from pipeline.quickstart_tasks import write_tasks

pytestmark = pytest.mark.slow


@pytest.fixture
def commands(real_student: Path, tmp_path: Path) -> list[list[str]]:
    """The words of each command; programs come from the environment that runs the tests."""
    found = next_commands(real_student, write_tasks(tmp_path / "tasks"))
    return [shlex.split(command) for command in found.values()]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "0-1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "TORCHDYNAMO_DISABLE": "1",
    }


def test_chat_in_transformers(commands: list[list[str]], environment: dict[str, str]) -> None:
    result = subprocess.run(
        commands[0], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_lm_eval(commands: list[list[str]], environment: dict[str, str], tmp_path: Path) -> None:
    words = [*commands[2], "--limit", "2", "--output_path", str(tmp_path / "results")]
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(next((tmp_path / "results").rglob("*.json")).read_text())
    assert found["results"]["potstill_problems"]["exact_match,answer"] in (0, 0.5, 1)


def vllm_metadata(folder: Path) -> Path:
    """`vllm serve` asks for the version of a package called vllm, and finds the CPU by it."""
    try:
        version = importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        version = importlib.metadata.version("vllm-cpu") + "+cpu"
    info = folder / f"vllm-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    return folder


def test_serve_with_vllm(
    commands: list[list[str]], environment: dict[str, str], tmp_path: Path
) -> None:
    environment["PYTHONPATH"] = str(vllm_metadata(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*commands[1], "--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
    words += ["--max-model-len", "512"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            answer = _ask(f"http://127.0.0.1:{port}", commands[1][-1], server)
        finally:
            server.terminate()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 4


def _ask(url: str, model: str, server: subprocess.Popen[bytes]) -> dict:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps({**body, "ignore_eos": True}).encode(),
        {"Content-Type": "application/json"},
    )
    for _ in range(300):
        assert server.poll() is None, "the server ended by itself"
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(1)
    raise AssertionError("the server never answered")
