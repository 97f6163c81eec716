"""The plan of a dump: made by whoever is first, kept to by everybody else."""

import errno
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas import layout
from schemas.differences import differences
from schemas.errors import ConfigError, ConflictError, FormatError, InputError, PotstillError
from schemas.manifest import Manifest, Setting, Settings, plan_identity, settings_of
from schemas.plan import Plan, RowRange
from schemas.storage import Store, StoreClass, create_settled, explained, replace_settled
from schemas.storage_posix import PosixStore
from schemas.storages import open_store
from schemas.store_probe import probe_store
from schemas.strict_json import json_bytes, parse_model

MOST_UNITS = 1_000_000
"""plan.json lists its units, and readers take one of 64 MiB: about 30 bytes a unit."""

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who makes a plan, and with what knobs of the engine: recorded, never compared."""

    created_by: str
    engine_options: Mapping[str, Setting]


def agree_on_plan(
    store: Store, path: str | Path, settings: Settings, units: Sequence[RowRange], origin: Origin
) -> Plan:
    """The plan at `path`, which has these settings and units; created when there is none.

    Raises:
        ConflictError: the plan or the complete dump there differs.
        FormatError: the folder holds something else.
        ConfigError: too many units.
        OSError: the store failed.
    """
    manifest = store.read(layout.MANIFEST)
    if manifest is not None:
        complete = parse_model(Manifest, manifest, f"{path}/{layout.MANIFEST}")
        _check_settings(settings, settings_of(complete), path)
        return _plan(settings, units, origin, store.store_class)
    found = _plan_or_empty(store, path)
    if found is None:
        _check_number(units)
    store_class = _probed(store, path)
    if found is None:
        mine = json_bytes(_plan(settings, units, origin, store_class))
        settle = replace_settled if store_class == "neither" else create_settled
        found = settle(store, layout.PLAN, mine)
    plan = parse_model(Plan, found, f"{path}/{layout.PLAN}")
    _check_settings(settings, plan.settings, path)
    _check_units(units, plan.units, path)
    _check_class(store_class, plan.store_class, path)
    return plan


def check_place(path: str | Path, settings: Settings | None = None) -> None:
    """Checks that a dump may be made or continued at `path`; creates nothing.

    Args:
        path: a local folder, which need not exist, or a URL.
        settings: compared with those of the dump there, when there is one.

    Raises:
        ConflictError: the dump there has other settings.
        FormatError: the folder holds something else.
        InputError: it is a file, or may not be written to.
    """
    store = open_store(path)
    with explained(path):
        manifest = store.read(layout.MANIFEST)
        plan = _plan_or_empty(store, path) if manifest is None else None
        if manifest is None and plan is None and isinstance(store, PosixStore):
            _check_writable(store.root)
    if settings is None:
        return
    if manifest is not None:
        complete = parse_model(Manifest, manifest, f"{path}/{layout.MANIFEST}")
        _check_settings(settings, settings_of(complete), path)
    elif plan is not None:
        _check_settings(settings, parse_model(Plan, plan, f"{path}/{layout.PLAN}").settings, path)


def _check_writable(path: Path) -> None:
    place = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _probed(store: Store, path: str | Path) -> StoreClass:
    """The class of the store.

    A dump that is finished meanwhile disturbs the probe, since whoever finishes it tidies up: the
    probe is then needless, and what it found is not believed.
    """
    try:
        found = probe_store(store, str(path))
    except PotstillError:
        if store.size(layout.MANIFEST) is None:
            raise
        return store.store_class
    if found != store.store_class and store.size(layout.MANIFEST) is not None:
        return store.store_class
    return found


def _check_class(here: StoreClass, there: str, path: str | Path) -> None:
    """Refuses a store that does less, or something else, than what the dump was begun with."""
    if there in ("neither", here) or (there == "create-if-absent" and here == "posix"):
        return
    if here == "neither":
        raise InputError(
            f"the store at {path} no longer creates a file only if it is absent, as it did when "
            f"this dump was begun ({there}): a second creation succeeds. Nothing was changed. Have "
            "that mended, or begin another dump elsewhere."
        )
    raise ConflictError(
        f"the dump at {path} was begun on a store of class {there}; found {here} here. Two ways to "
        "one place do not see each other's locks: reach it as the first worker did."
    )


def _plan(
    settings: Settings, units: Sequence[RowRange], origin: Origin, store_class: StoreClass
) -> Plan:
    return Plan(
        settings=settings,
        plan=plan_identity(settings),
        units=[(start, end) for start, end in units],
        store_class=store_class,
        nonce=secrets.token_hex(16),
        created_by=origin.created_by,
        engine_options=dict(origin.engine_options),
    ).sealed()


def _plan_or_empty(store: Store, path: str | Path) -> bytes | None:
    """plan.json, or None where there is nothing yet.

    Raises:
        FormatError: there is something else.
    """
    found = store.read(layout.PLAN)
    if found is not None:
        return found
    try:
        _check_empty(store, path)
    except FormatError:
        found = store.read(layout.PLAN)  # another worker began between the two looks
        if found is None:
            raise
    return found


def _check_empty(store: Store, path: str | Path) -> None:
    others = [name for name in store.names("") if name != layout.WORK]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise FormatError(
            f"{path} is not empty and holds no dump: found {', '.join(others[:_SHOWN])}{more}. "
            "Choose a new folder for --out, or empty this one."
        )


def _check_number(units: Sequence[RowRange]) -> None:
    if len(units) > MOST_UNITS:
        raise ConfigError(
            f"{len(units):,} work units are too many: a dump has at most {MOST_UNITS:,} "
            f"shards. Raise --unit-size by a factor of {-(-len(units) // MOST_UNITS)} or more."
        )


def _check_settings(here: Settings, there: Settings, path: str | Path) -> None:
    lines = differences(here, there)
    if lines:
        raise ConflictError(
            f"the dump at {path} was begun with other settings (here: asked for now, there: in the "
            "dump):\n" + "".join(f"  {line}\n" for line in lines) + "Continue it with its own "
            "settings, or choose another --out."
        )


def _check_units(here: Sequence[RowRange], there: Sequence[RowRange], path: str | Path) -> None:
    if [*map(tuple, here)] != [*map(tuple, there)]:
        raise ConflictError(
            f"the dump at {path} was begun with other work units: {len(here)} here, ending at row "
            f"{here[-1][1] if here else 0}; {len(there)} there, ending at row "
            f"{there[-1][1] if there else 0}. Continue it with its own --unit-size and corpus, or "
            "choose another --out."
        )
