"""Attacks by a dump's JSON and by the names in it."""

import gzip
import json
import os
from collections.abc import Callable
from typing import Any

from schemas import layout
from tests.dumps import Dump
from tests.reliability.rewriting import write_manifest

Attack = Callable[[Dump], None]

SECRET = "secret.txt"
"""A file beside the dump's folder, which no attack may have read."""


def _text(change: Callable[[bytes], bytes]) -> Attack:
    """Other bytes as manifest.json."""

    def attack(dump: Dump) -> None:
        path = dump.path / layout.MANIFEST
        path.write_bytes(change(path.read_bytes()))

    return attack


def _value(change: Callable[[dict[str, Any]], Any]) -> Attack:
    """The manifest's JSON with something changed; its hashes stay."""

    def to(data: bytes) -> bytes:
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return _text(to)


def _fields(**changes: Any) -> Attack:
    """Other fields, all hashes right."""
    return lambda dump: write_manifest(dump, **changes) and None


def _part(name: str, **changes: Any) -> Attack:
    """Other values in a part of the manifest, all hashes right."""

    def attack(dump: Dump) -> None:
        write_manifest(dump, **{name: getattr(dump.manifest, name).model_copy(update=changes)})

    return attack


def _shard(**changes: Any) -> Attack:
    """Another first line of the ledger, all hashes right."""

    def attack(dump: Dump) -> None:
        first, *others = dump.manifest.shards
        write_manifest(dump, shards=[first.model_copy(update=changes), *others])

    return attack


def _instead(make: Callable[[str, Dump], None]) -> Attack:
    """Something else than a file as manifest.json."""

    def attack(dump: Dump) -> None:
        path = dump.path / layout.MANIFEST
        path.unlink()
        make(str(path), dump)

    return attack


def _twice(dump: Dump) -> None:
    first, second, *others = dump.manifest.shards
    write_manifest(dump, shards=[first, second.model_copy(update={"unit": first.unit}), *others])


def _named(name: str) -> Attack:
    return _shard(name=name)


MANIFESTS: dict[str, Attack] = {
    "a key twice": _text(lambda d: d.replace(b'"codec"', b'"codec": "gap5", "codec"', 1)),
    "NaN": _text(lambda d: d.replace(b'"rows": ', b'"rows": NaN, "x": ', 1)),
    "an infinity": _text(lambda d: d.replace(b'"rows": ', b'"rows": Infinity, "x": ', 1)),
    "nested a hundred thousand times": _text(lambda d: b"[" * 100_000 + b"]" * 100_000),
    "nested forty times": _value(lambda v: v.update(codec=json.loads("[" * 40 + "]" * 40))),
    "an integer of ten thousand digits": _text(
        lambda d: d.replace(b'"rows": ', b'"rows": ' + b"9" * 10_000, 1)
    ),
    "larger than is read": _text(lambda d: d + b" " * (65 << 20)),
    "not UTF-8": _text(lambda d: d.replace(b"gap5", b"g\xff5")),
    "half a surrogate": _text(lambda d: d.replace(b'"gap5"', b'"\\ud800"')),
    "empty": _text(lambda d: b""),
    "a list": _text(lambda d: b"[]"),
    "compressed": _text(gzip.compress),
    "an unknown field": _value(lambda v: v.update(hook="import os")),
    "an unknown field of a shard": _value(lambda v: v["shards"][0].update(url="http://x")),
    "another version": _value(lambda v: v.update(format_version=2)),
    "true as version": _value(lambda v: v.update(format_version=True)),
    "a text as version": _value(lambda v: v.update(format_version="1")),
    "a wrong identity": _value(lambda v: v.update(identity="sha256:" + "0" * 64)),
    "a wrong plan": _value(lambda v: v.update(plan="sha256:" + "0" * 64)),
    "settings that do not hash": _value(lambda v: v["teacher"].update(license="mit")),
    "negative rows": _value(lambda v: v["shards"][0].update(rows=-1)),
    "rows as text": _value(lambda v: v["shards"][0].update(rows="8")),
    "a unit twice": _twice,
    "units out of order": lambda d: write_manifest(d, shards=d.manifest.shards[::-1]) and None,
    "an unknown codec": _fields(codec="pickle"),
    "a path as codec": _fields(codec="../../codec"),
    "hidden layers that are not there": _part(
        "capture", hidden_layers=["0"], hidden_codec="int8", hidden_width=4
    ),
    "an enormous head": _part("tokenizer", head_size=10**15),
    "a head that is too small": _part("tokenizer", head_size=1),
    "a temperature that no shard has": _part("capture", temperatures=[1.0, 3.0]),
    "optional columns that are a path": _part("capture", optional_columns=["../x"]),
    "more rows than there are": _shard(rows=10**12),
    "more tokens than there are": _shard(tokens=10**12),
    "more bytes than there are": _shard(bytes=10**15),
    "another unit": _shard(unit=7_000_000),
    "another hash": _shard(sha256="sha256:" + "0" * 64),
    "a folder": _instead(lambda path, dump: os.mkdir(path)),
    "a link to a secret": _instead(lambda path, dump: os.symlink(dump.path.parent / SECRET, path)),
    "a link to itself": _instead(lambda path, dump: os.symlink(path, path)),
    "a link to endless zeros": _instead(lambda path, dump: os.symlink("/dev/zero", path)),
    "a pipe": _instead(lambda path, dump: os.mkfifo(path)),
}

NAMES: dict[str, Attack] = {
    "upwards": _named(f"../../{SECRET}"),
    "absolute": _named("/etc/passwd"),
    "a chain of fsspec": _named(f"simplecache::file:///tmp/{SECRET}"),
    "an address": _named("http://127.0.0.1:9/part-000000-ab.parquet"),
    "upwards behind a right beginning": _named(f"part-000000-ab.parquet/../../../{SECRET}"),
    "a line end behind it": _named("part-000000-ab.parquet\n"),
    "digits of another script": _named("part-٠٠٠-ab.parquet"),
    "a null": _named("part-000000-ab.parquet\0.txt"),
    "capitals": _named("PART-000000-AB.PARQUET"),
    "a name of ten thousand letters": _named("part-0-" + "a" * 10_000 + ".parquet"),
    "a glob": _named("part-*-ab.parquet"),
    "a drive": _named("C:\\part-000000-ab.parquet"),
}
