"""What a store really does, found out by trying: schemes and mount types promise too much."""

import errno
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

from schemas import layout
from schemas.errors import TemporaryError
from schemas.storage import Store, StoreClass, explain, permanent

RACERS = 8
ROUNDS = {"posix": 1, "conditional": 4}
"""Races per probe: the system's own link(2) is one call, but of a server that looks and then writes
one race in two seems well decided."""

_TRIES = 3
_UNABLE = {
    *(errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK),  # no hard links
    *(errno.EINVAL,),  # what servers say of a condition that they do not know
}


def probe_store(store: Store, place: str) -> StoreClass:
    """Creates one file twice and others by eight racers at once; leaves nothing behind.

    Args:
        store: where the dump will be.
        place: how to call it in a message.

    Raises:
        InputError: the store cannot be written, or is full.
        TemporaryError: the store failed.
    """
    failure = OSError(errno.EIO, f"of {_TRIES} probes none gave an answer to rely on")
    for _ in range(_TRIES):
        names = [f"{layout.PROBES}/{secrets.token_hex(8)}.json" for _ in range(2)]
        try:
            able = _creates_once(store, names[0])
            rounds = ROUNDS[store.store_class] if able else 0
            for _ in range(rounds):
                able = able and _race(store, names[1])
        except OSError as error:
            if error.errno in _UNABLE:
                return _neither(store, place, names)
            if permanent(error):
                raise explain(error, place) from error
            failure, able = error, None
        finally:
            _remove(store, names)
        if able is not None:
            return store.store_class if able else _neither(store, place, names)
    raise explain(failure, place) from failure


def _creates_once(store: Store, name: str) -> bool | None:
    """Whether a second creation fails as it should; None when no answer can be believed."""
    first, second = store.create(name, b"{}"), store.create(name, b"{}")
    if not first:
        return None  # or an answer was lost: our own object is reported as another's
    return not second


def _race(store: Store, name: str) -> bool | None:
    """Whether of several creators one wins; None when an answer was lost."""
    start = threading.Barrier(RACERS)

    def racer(number: int) -> bool | OSError:
        start.wait()
        try:
            return store.create(name, f'{{"racer":{number}}}'.encode())
        except OSError as error:
            return error

    with ThreadPoolExecutor(RACERS) as pool:
        outcomes = list(pool.map(racer, range(RACERS)))
    winners = sum(outcome is True for outcome in outcomes)
    if winners > 1:
        return False
    for outcome in outcomes:
        if isinstance(outcome, OSError):
            raise outcome
    store.remove(name)
    return True if winners else None


def _neither(store: Store, place: str, names: list[str]) -> StoreClass:
    """The class of a store that lets several creators win; it must at least keep what it is given.

    Raises:
        PotstillError: it does not.
    """
    try:
        store.replace(names[0], b"{}")
        kept = store.read(names[0])
    except OSError as error:
        raise explain(error, place) from error
    finally:
        _remove(store, names)
    if kept != b"{}":
        raise TemporaryError(
            f"the store at {place} does not give back what was written a moment ago. Run the same "
            "command again later, or choose another place."
        )
    return "neither"


def _remove(store: Store, names: list[str]) -> None:
    """Probes left behind do no harm: whoever finishes the dump removes them."""
    try:
        store.remove(*names)
    except OSError:
        return
