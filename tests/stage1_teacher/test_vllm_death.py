"""A call that waits for a process of vLLM's ends when that process does."""

import time
from multiprocessing import get_context

import pytest

from schemas.errors import TemporaryError
from stage1_teacher import vllm_death
from stage1_teacher.vllm_death import while_alive


def test_a_call_that_nobody_will_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_death, "_GRACE", 0.2)
    monkeypatch.setattr(vllm_death, "_POLL", 0.05)
    process = get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    process.kill()
    process.join()
    with pytest.raises(TemporaryError, match="same command again"):
        while_alive(lambda: time.sleep(5), [process])


def test_an_answer_comes_back_and_so_does_an_error() -> None:
    process = get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    try:
        assert while_alive(lambda: 7, [process]) == 7
        with pytest.raises(TimeoutError, match="its own"):
            while_alive(_fails, [process])
    finally:
        process.kill()
    assert while_alive(lambda: 8, []) == 8


def _fails() -> None:
    raise TimeoutError("its own")
