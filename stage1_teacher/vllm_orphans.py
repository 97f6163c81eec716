"""No process of vLLM's outlives ours: one that did would hold the GPU's memory for ever.

vLLM ends its processes when ours ends in an orderly way. After SIGKILL (a scheduler's last word, or
the kernel's when memory runs out) its engine waits for requests that nobody will send.
"""

import os
import select
import signal
from contextlib import suppress
from threading import Thread


def end_with(owner: int) -> None:
    """From now on this process ends when `owner` does, and its parent with it.

    Called in vLLM's workers: `owner` started vLLM, the parent is its engine or `owner` itself.
    """
    if owner == os.getpid():
        return
    with suppress(OSError):  # some sandboxes refuse the call, and a dump does not depend on it
        handle = os.pidfd_open(owner)
        Thread(target=_wait, args=(handle, owner, os.getppid()), daemon=True).start()


def _wait(handle: int, owner: int, parent: int) -> None:
    select.select([handle], [], [])  # readable once the process has ended
    if parent not in (owner, 1) and os.getppid() == parent:
        os.kill(parent, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
