"""Runs verifiers in processes of their own, ends those that hang and starts new ones.

Processes are started anew rather than forked: the one that calls may hold a GPU, or threads.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, cast

from schemas.errors import ConfigError
from stage1_teacher.verdict import Verdict, Verify, not_compared

SECONDS = 5.0
"""The longest that one comparison may take."""

_START_SECONDS = 120.0
_MOST = 4


@contextmanager
def in_processes(
    address: str, arguments: list[str | None], *, seconds: float = SECONDS, processes: int = 0
) -> Iterator[Verify]:
    """A verifier at `package.module:function`, in as many processes as there are CPUs, at most 4.

    With `arguments` the function is called with them first, and gives the one that compares. Each
    pair has `seconds`; a process that takes longer, or dies, is replaced, and the pair's
    verdict says what happened.

    Raises:
        ConfigError: the function cannot be imported, or refuses its argument.
    """
    count = processes or min(_MOST, os.cpu_count() or 1)
    workers = [_Worker(address, arguments, seconds)]
    try:
        workers[0].start()
        workers += [_Worker(address, arguments, seconds) for _ in range(count - 1)]
        free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in workers:
            free.put(worker)
        with ThreadPoolExecutor(count) as threads:
            yield lambda pairs: list(threads.map(lambda pair: _ask(free, *pair), pairs))
    finally:
        for worker in workers:
            worker.end()


def _ask(free: "SimpleQueue[_Worker]", answer: str, gold: str) -> Verdict:
    worker = free.get()
    try:
        return worker.ask(answer, gold)
    finally:
        free.put(worker)


class _Worker:
    """One process, started when it is first asked."""

    def __init__(self, address: str, arguments: list[str | None], seconds: float) -> None:
        self._address = address
        self._order = json.dumps([address, arguments, seconds])
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process and waits until the verifier is imported.

        Raises:
            ConfigError: it cannot be.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stage1_teacher.verifier_worker", self._order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": _python_path()},
            start_new_session=True,  # Ctrl-C is for the one that asks
        )
        try:
            said = self._reply(_START_SECONDS)
        except _LostError as error:
            said = {"error": f"{error}."}
        if "error" in said:
            self.end()
            raise ConfigError(
                f"the verifier {self._address} cannot be used: {said['error']} Check that it is "
                "installed or in the working directory, and written package.module:function."
            )

    def ask(self, answer: str, gold: str) -> Verdict:
        """One verdict; a process that hangs or dies is ended, the next question starts another."""
        try:
            if self._process is None:
                self.start()
            said = self._exchange({"answer": answer, "gold": gold})
        except (_LostError, ConfigError) as error:
            self.end()
            return not_compared(str(error))
        return Verdict(correct=said["correct"], compared=said["compared"])

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process = None

    def _exchange(self, message: dict[str, str]) -> dict[str, Any]:
        stdin = cast(IO[bytes], self._running().stdin)
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise self._died() from None
        return self._reply(self._seconds)

    def _reply(self, seconds: float) -> dict[str, Any]:
        """The next line that the process says."""
        stdout = cast(IO[bytes], self._running().stdout)
        if not select.select([stdout], [], [], seconds)[0]:
            raise _LostError(f"the verifier took longer than {seconds:g} s")
        line = stdout.readline()
        if not line:
            raise self._died()
        return dict(json.loads(line))

    def _died(self) -> "_LostError":
        status = self._running().wait(_START_SECONDS)
        return _LostError(f"the verifier's process died (exit status {status})")

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise _LostError("the verifier's process was ended")
        return self._process


class _LostError(Exception):
    """A process that hangs or died; its text says which."""


def _python_path() -> str:
    """Where this process finds modules, for one that must find the same."""
    ours = str(Path(__file__).parent.parent)
    return os.pathsep.join([*filter(None, sys.path), ours])
