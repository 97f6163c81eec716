"""Manifests come back as they went, and nothing else is let in."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.differences import differences
from schemas.errors import DamagedError, FormatError
from schemas.ledger import INLINE
from schemas.manifest import (
    Capture,
    Manifest,
    canonical,
    manifest_identity,
    plan_identity,
    settings_of,
)
from schemas.strict_json import LARGEST, json_bytes, parse_json, parse_model
from stage1_teacher.commit_plan import MOST_UNITS
from tests.dumps import make_settings, write_dump


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_dump(tmp_path_factory.mktemp("d") / "dump", count=4).manifest


def test_round_trip(manifest: Manifest) -> None:
    again = parse_model(Manifest, json_bytes(manifest), "manifest.json")
    assert again == manifest
    assert json_bytes(again) == json_bytes(manifest)
    assert manifest_identity(again) == manifest.identity
    assert plan_identity(settings_of(again)) == manifest.plan


def test_a_stranger_finds_the_same_hashes(manifest: Manifest) -> None:
    """By the words of FORMAT.md, with json and hashlib only."""

    def digest(value: Any) -> str:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    value = json.loads(json_bytes(manifest))
    settings = [
        "format_version",
        "teacher",
        "engine",
        "tokenizer",
        "corpus",
        "capture",
        "limits",
        "generation",
        "codec",
    ]
    assert digest({name: value[name] for name in settings}) == value["plan"]
    assert digest({k: v for k, v in value.items() if k != "identity"}) == value["identity"]


def test_what_came_later_leaves_older_plans_as_they_were(manifest: Manifest) -> None:
    """Where the teacher's depth is not known the field is left out, as in dumps from before it."""
    assert "hidden_depth" not in json.loads(json_bytes(manifest))["capture"]
    known = manifest.model_copy(update={"capture": Capture(hidden_depth=30)})
    assert json.loads(json_bytes(known))["capture"]["hidden_depth"] == 30
    assert plan_identity(settings_of(known)) != manifest.plan


def test_canonical_json() -> None:
    value = {"b": 1.0, "a": [1, 0.001953125, 1e-5, 1e16, None, True], "é": "ü\n"}
    expected = '{"a":[1,0.001953125,1e-05,1e+16,null,true],"b":1.0,"é":"ü\\n"}'
    assert canonical(value).decode() == expected


def test_every_setting_changes_the_plan(manifest: Manifest) -> None:
    settings = settings_of(manifest)
    for name in ("teacher", "engine", "tokenizer", "corpus", "capture", "limits"):
        part = getattr(settings, name)
        changes = {"name": "other"} if "name" in type(part).model_fields else {}
        changes = changes or {"capture": {"top_k": 3}, "limits": {"seed": 9}}.get(name, {"size": 1})
        changed = settings.model_copy(update={name: part.model_copy(update=changes)})
        assert plan_identity(changed) != manifest.plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m.pop("teacher"), "teacher"),
        (lambda m: m["capture"].update(top_k="64"), "capture.top_k"),
        (lambda m: m["capture"].update(top_k=0), "capture.top_k"),
        (lambda m: m["shards"][0].update(name="../../etc/passwd"), "shards.0.name"),
        (lambda m: m["shards"][0].update(name="part-1-0f.parquet\n"), "shards.0.name"),
        (lambda m: m["shards"][0].update(bytes=-1), "shards.0.bytes"),
        (lambda m: m.update(plan="sha256:zz"), "plan"),
    ],
)
def test_what_does_not_follow_is_refused(manifest: Manifest, change: Any, message: str) -> None:
    value = json.loads(json_bytes(manifest))
    change(value)
    with pytest.raises(DamagedError, match=message):
        parse_model(Manifest, json.dumps(value).encode(), "manifest.json")


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_unknown_versions_name_both(manifest: Manifest, version: Any) -> None:
    value = json.loads(json_bytes(manifest))
    value["format_version"] = version
    with pytest.raises(FormatError, match="reads version 1") as caught:
        parse_model(Manifest, json.dumps(value).encode(), "manifest.json")
    assert repr(version) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "appears twice"),
        (b'{"a": {"b": 1, "b": 1}}', "appears twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b"[" * 100_000, "m.json"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "m.json"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": 1', "m.json"),
        (b"", "m.json"),
        (b" " * (LARGEST + 1), "at most"),
    ],
)
def test_json_bombs_and_tricks(data: bytes, message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        parse_json(data, "m.json")


def test_models_refuse_what_python_would_convert() -> None:
    for bad in ({"top_k": True}, {"min_prob": float("nan")}, {"min_prob": 1.0}, {"topk": 3}):
        with pytest.raises(ValidationError):
            Capture(**bad)  # type: ignore[arg-type]


def test_differences_show_both_values() -> None:
    here = make_settings(Capture(top_k=8), rows=3)
    there = make_settings(Capture(top_k=8, min_prob=None), rows=4)
    assert differences(here, there) == [
        "corpus.rows: 3 here, 4 there",
        "capture.min_prob: 0.001953125 here, none there",
    ]
    assert differences(here, here) == []


def test_the_largest_manifest_can_be_read(manifest: Manifest) -> None:
    """A ledger inline, every number as long as it gets, stays below the cap on what is read."""
    shard = manifest.shards[0]
    long = {name: 10**12 for name in ("rows", "tokens", "positions", "bytes", "hidden_bytes")}
    shard = shard.model_copy(update={**long, "hidden_sha256": shard.sha256, "skipped": 10**9})
    many = manifest.model_copy(update={"shards": [shard] * 100})
    line = (len(json_bytes(many)) - len(json_bytes(manifest))) / 100
    assert 4 * INLINE * line < LARGEST


def test_the_largest_plan_can_be_read() -> None:
    range_of_rows = len("\n  [\n   1000000000,\n   1000000000\n  ],")
    assert MOST_UNITS * range_of_rows < LARGEST


def test_the_file_ends_as_files_do(manifest: Manifest, tmp_path: Path) -> None:
    assert json_bytes(manifest).endswith(b"}\n")
