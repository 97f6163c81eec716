"""Trainings in processes that talk through gloo; forked, since importing torch takes longest."""

import os
import socket
import sys
import traceback
from collections.abc import Callable

import torch

torch.set_num_threads(1)  # a fork of a process with OpenMP's threads waits for them for ever


def in_processes(count: int, work: Callable[[], None]) -> None:
    """Runs `work` in `count` processes, as torchrun would start them.

    Raises:
        AssertionError: one of them failed; its traceback was printed.
    """
    port = _free_port()
    children = [_fork(rank, count, port, work) for rank in range(count)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0] * count


def _fork(rank: int, count: int, port: int, work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank)},
        **{"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"},
    }
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
