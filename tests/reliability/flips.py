"""Altered files: single bits, cuts, and shards in each other's place. All must be found.

What must notice is what a user has: `potstill verify` by its hashes for shards, opening a dump for
the manifest and snapshots, reading them for plan and records. Besides, a sample of the flips is
shown to a reader that takes no hash: page checksums must notice them, or the numbers be the same;
those in a footer, which has no checksum, are counted.
"""

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from schemas import layout
from schemas.dump_folder import open_dump
from schemas.errors import PotstillError
from schemas.manifest import Shard
from schemas.plan import CommitRecord, Plan
from schemas.strict_json import json_bytes, parse_model
from schemas.value_ranges import check_values
from schemas.verify import verify
from schemas.verify_shard import verify_shard
from tests.dumps import Dump, write_dump
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.small_dump import finish

EVERY = 1 << 40
SHARD_FLIPS: dict[Tier, int] = {"pr": 110_000, "nightly": EVERY, "release": EVERY}
READ_FLIPS: dict[Tier, int] = {"pr": 3_000, "nightly": 100_000, "release": EVERY}
JSON_ROUNDS: dict[Tier, int] = {"pr": 32_000, "nightly": EVERY, "release": EVERY}
"""Bits of a file: all of them where it has no more."""


def flips(tier: Tier) -> Outcome:
    """Every kind of file of a dump."""
    outcome = Outcome()
    with scratch() as folder:
        dump = write_dump(folder / "dump", count=36, unit_size=12)
        _shards_by_hash(outcome, dump, SHARD_FLIPS[tier])
        _shards_by_reading(outcome, dump, READ_FLIPS[tier])
        _cuts(outcome, dump)
        _swaps(outcome, dump)
        manifest = dump.path / layout.MANIFEST
        json_flips(
            outcome, "manifest", manifest.read_bytes(), _as_manifest(dump), JSON_ROUNDS[tier]
        )
        finish(folder / "grown")
        for name, data, look in _growing(folder / "grown"):
            json_flips(outcome, name, data, look, JSON_ROUNDS[tier] // 3)
    return outcome


def _shards_by_hash(outcome: Outcome, dump: Dump, most: int) -> None:
    """Verify takes the hash of the file as it lies there."""
    opened, shard = open_dump(dump.path), dump.manifest.shards[0]
    path = dump.path / layout.DATA / shard.name
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place, flipped in _flips(whole, most):
            _put(file, place, flipped)
            outcome.count("bits of a shard, by its hash")
            if not verify_shard(opened, shard, lambda count: None).findings:
                outcome.violate("shard", [f"a flip in byte {place} was not found"])
            _put(file, place, whole[place])


def _shards_by_reading(outcome: Outcome, dump: Dump, most: int) -> None:
    """A reader that takes no hash gets an error of ours, or the very same numbers.

    Parquet has checksums for its pages and none for its footer, so what a flip there changes is
    counted apart: only the hashes of `verify` find it.
    """
    shard = dump.manifest.shards[0]
    path = dump.path / layout.DATA / shard.name
    whole, expected = path.read_bytes(), _read(dump, shard)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    same = footers = 0
    with path.open("r+b", buffering=0) as file:
        for place, flipped in _flips(whole, most):
            _put(file, place, flipped)
            outcome.count("bits of a shard, by reading it")
            try:
                if _read(dump, shard) == expected:
                    same += 1
                elif place >= footer:
                    footers += 1
                else:
                    outcome.violate("reader", [f"a flip in byte {place} was read as numbers"])
            except PotstillError:
                pass
            except Exception as error:
                outcome.violate("reader", [f"byte {place}: {type(error).__name__}: {error}"])
            _put(file, place, whole[place])
    outcome.figures["flips that changed no number and were read"] = same
    outcome.figures["flips in a footer that only its hash tells"] = footers


def _read(dump: Dump, shard: Shard) -> list[dict[str, object]]:
    opened = open_dump(dump.path)
    with opened.reading(shard.name):
        table = opened.shard_file(shard).read()
    check_values(table, opened.manifest, shard.name)
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


def _cuts(outcome: Outcome, dump: Dump) -> None:
    shard = dump.manifest.shards[1]
    path = dump.path / layout.DATA / shard.name
    whole = path.read_bytes()
    opened = open_dump(dump.path)
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        outcome.count("shards cut short")
        if not verify_shard(opened, shard, lambda count: None).findings:
            outcome.violate("cut", [f"a shard of {end} bytes was not found"])
    path.write_bytes(whole)


def _swaps(outcome: Outcome, dump: Dump) -> None:
    """One shard in another's place: both are whole, and neither belongs there."""
    names = [shard.name for shard in dump.manifest.shards]
    for one, other in itertools.permutations(names, 2):
        copy = dump.path.parent / "swapped"
        shutil.copytree(dump.path, copy)
        shutil.copy(dump.path / layout.DATA / one, copy / layout.DATA / other)
        outcome.count("shards in another's place")
        if verify(str(copy)).ok:
            outcome.violate("swap", [f"{one} in place of {other} was not found"])
        shutil.rmtree(copy)


def json_flips(
    outcome: Outcome, name: str, whole: bytes, look: Callable[[bytes], bytes], most: int
) -> None:
    """Refused with an error of ours, or of the very same meaning: a blank for another."""
    expected = look(whole)
    for place, flipped in _flips(whole, most):
        data = bytearray(whole)
        data[place] = flipped
        outcome.count(f"bits of the {name}")
        try:
            if look(bytes(data)) != expected:
                outcome.violate(name, [f"a flip in byte {place} got through: {_near(data, place)}"])
        except PotstillError:
            continue
        except Exception as error:
            outcome.violate(name, [f"byte {place}: {type(error).__name__}: {error}"])


def _as_manifest(dump: Dump) -> Callable[[bytes], bytes]:
    """Opens the dump with other bytes as its manifest."""
    path = dump.path / layout.MANIFEST

    def look(data: bytes) -> bytes:
        path.write_bytes(data)
        return json_bytes(open_dump(dump.path).manifest)

    return look


def record_of(path: Path) -> tuple[bytes, Callable[[bytes], bytes]]:
    """A commit record of a dump that is made at `path`, and how it is read."""
    finish(path)
    record = (path / layout.record_path(0)).read_bytes()
    return record, lambda data: json_bytes(parse_model(CommitRecord, data, "record"))


def _growing(path: Path) -> Iterator[tuple[str, bytes, Callable[[bytes], bytes]]]:
    """Records, plan and snapshot of a dump that was finished."""
    record = (path / layout.record_path(0)).read_bytes()
    plan = (path / layout.PLAN).read_bytes()
    ledger = sorted((path / layout.LEDGER).iterdir())[0]
    yield "commit record", record, lambda d: json_bytes(parse_model(CommitRecord, d, "record"))
    yield "plan", plan, lambda d: json_bytes(parse_model(Plan, d, "plan"))
    for other in ("manifest.json", "README.md"):
        (path / other).unlink()

    def look(data: bytes) -> bytes:
        ledger.write_bytes(data)
        return json_bytes(open_dump(path, growing=True).manifest)

    for newer in sorted((path / layout.LEDGER).iterdir())[1:]:
        newer.unlink()
    yield "snapshot", ledger.read_bytes(), look


def _flips(whole: bytes, most: int) -> Iterator[tuple[int, int]]:
    """Places and the bytes to put there: every bit when there are so many, else drawn at random."""
    bits = len(whole) * 8
    if bits <= most:
        chosen: Iterator[int] = iter(range(bits))
    else:
        chosen = iter(random.Random(bits).sample(range(bits), most))
    for bit in chosen:
        yield bit // 8, whole[bit // 8] ^ (1 << bit % 8)


def _put(file: object, place: int, byte: int) -> None:
    file.seek(place)  # type: ignore[attr-defined]
    file.write(bytes([byte]))  # type: ignore[attr-defined]


def _near(data: bytearray, place: int) -> str:
    return bytes(data[max(0, place - 20) : place + 20]).decode(errors="replace")
