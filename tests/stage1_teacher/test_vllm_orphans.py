"""Three processes as vLLM has them: the owner is killed, the engine and its worker end."""

import os
import subprocess
import sys
import threading

import psutil

from stage1_teacher.vllm_orphans import end_with

WORKER = (
    "import sys, time; from stage1_teacher.vllm_orphans import end_with;"
    "end_with(int(sys.argv[1])); print('watching', flush=True); time.sleep(600)"
)
ENGINE = (
    "import subprocess, sys, time;"
    f"subprocess.Popen([sys.executable, '-c', {WORKER!r}, sys.argv[1]]); time.sleep(600)"
)
OWNER = (
    "import os, subprocess, sys, time;"
    "subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())]); time.sleep(600)"
)


def killed_owner(child: str) -> list[psutil.Process]:
    """Starts an owner with this child, kills it when the worker watches; what still runs."""
    words = [sys.executable, "-c", OWNER, child]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "watching\n"
        children = psutil.Process(owner.pid).children(recursive=True)
        owner.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    for process in alive:
        process.kill()
    assert children
    return alive


def test_engine_and_worker_end_with_their_owner() -> None:
    assert killed_owner(ENGINE) == []


def test_a_worker_of_the_owner_itself_ends_with_it() -> None:
    assert killed_owner(WORKER) == []


def test_a_sandbox_without_the_call_costs_no_dump(monkeypatch) -> None:
    def refuse(_: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    before = threading.active_count()
    end_with(os.getppid())
    assert threading.active_count() == before
