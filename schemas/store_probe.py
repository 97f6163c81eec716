"""What a store really does, found out by trying: schemes and mount types promise too much."""

import errno
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

from schemas import layout
from schemas.errors import InputError
from schemas.plan import StoreClass
from schemas.storage import Store, explain

RACERS = 8
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def probe_store(store: Store, place: str) -> StoreClass:
    """Creates one file twice and another by eight racers at once; leaves nothing behind.

    Args:
        store: where the dump will be.
        place: how to call it in a message.

    Raises:
        InputError: the store lets two creators win, cannot be written, or is full.
        TemporaryError: the store failed.
    """
    names = [f"{layout.PROBES}/{secrets.token_hex(8)}.json" for _ in range(2)]
    try:
        try:
            twice = [store.create(names[0], b"{}"), store.create(names[0], b"{}")]
            winners = _race(store, names[1])
        finally:
            for name in names:
                store.remove(name)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise InputError(
                f"{place} lies on a file system without hard links ({error.strerror}), by which "
                "units are committed. Put the dump on a local disk or on NFS; copy it afterwards."
            ) from error
        raise explain(error, place) from error
    if twice != [True, False] or winners != 1:
        raise InputError(
            f"{place} cannot create a file only if it is absent: a second creation "
            f"{'succeeded' if twice[1] else 'failed'}, and of {RACERS} racers {winners} won. "
            "Dumps need that to lose nothing; put the dump on a local disk or on NFS."
        )
    return "create-if-absent"


def _race(store: Store, name: str) -> int:
    start = threading.Barrier(RACERS)

    def racer(number: int) -> bool:
        start.wait()
        return store.create(name, f'{{"racer":{number}}}'.encode())

    with ThreadPoolExecutor(RACERS) as pool:
        return sum(pool.map(racer, range(RACERS)))
