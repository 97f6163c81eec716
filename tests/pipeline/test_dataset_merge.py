"""Several dumps become one: every sample once, its origin kept; or nothing is written."""

from pathlib import Path
from typing import Any

import pytest

from pipeline import dataset_making, dataset_writer
from pipeline.dataset_making import Made
from pipeline.dataset_merge import merge
from pipeline.dataset_settings import MergeSettings
from schemas import ledger
from schemas.dump_folder import open_dump
from schemas.errors import ConflictError, DamagedError, InputError, MismatchError
from schemas.licences import stated_in
from schemas.manifest import Capture, Settings
from stage1_teacher import commit_manifest
from stage1_teacher.hidden_policy import with_widths
from tests.dumps import Dump, hidden_policy, make_settings, write_dump
from tests.pipeline.command_line import potstill
from tests.pipeline.datasets import by_id, nothing_left, rows_of, whole


def merged(*dumps: Dump, out: Path, **more: Any) -> Made:
    return merge(MergeSettings(dumps=[str(d.path) for d in dumps], out=str(out), **more))


def changed(part: str, **changes: Any) -> Settings:
    settings = make_settings(Capture())
    return settings.model_copy(
        update={part: getattr(settings, part).model_copy(update=changes)} if part else changes
    )


@pytest.fixture
def a(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "a", count=20)


@pytest.fixture
def b(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "b", count=12, seed=1)


def test_every_row_comes_through_unchanged_and_says_where_from(a, b, tmp_path) -> None:
    made = merged(a, b, out=tmp_path / "c")
    rows = rows_of(tmp_path / "c")
    assert [row["id"] for row in rows] == [*a.samples, *b.samples]
    origins = [row.pop("origin") for row in rows]
    assert origins == [a.manifest.identity] * 20 + [b.manifest.identity] * 12
    assert rows == [*rows_of(a.path), *rows_of(b.path)]
    assert (made.rows, made.shards, made.left_out) == (32, 1, {"in an earlier dump": 0})
    assert whole(tmp_path / "c")
    manifest = open_dump(tmp_path / "c").manifest
    assert manifest.derived is not None
    assert [s.identity for s in manifest.derived.sources] == [
        a.manifest.identity,
        b.manifest.identity,
    ]
    assert manifest.derived.steps[-1].operation == "merge"
    assert manifest.corpus.rows == 32
    assert manifest.tokenizer == a.manifest.tokenizer
    assert (tmp_path / "c/tokenizer/tokenizer.json").exists()
    assert "load_dataset" in (tmp_path / "c/README.md").read_text()


def test_a_sample_in_both_is_taken_once_and_origins_survive_another_merge(a, b, tmp_path) -> None:
    merged(a, b, out=tmp_path / "c")
    third = write_dump(tmp_path / "third", count=3, seed=2)
    made = merge(
        MergeSettings(
            dumps=[str(b.path), str(tmp_path / "c"), str(third.path)], out=str(tmp_path / "d")
        )
    )
    assert made.left_out == {"in an earlier dump": 12}
    origins = {row["id"]: row["origin"] for row in rows_of(tmp_path / "d")}
    for dump in (a, b, third):
        assert {origins[name] for name in dump.samples} == {dump.manifest.identity}
    assert whole(tmp_path / "d")


def test_the_lines_of_many_shards_stand_beside_the_manifest(a, b, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(commit_manifest, "INLINE", 3)
    monkeypatch.setattr(ledger, "GROUP_LINES", 2)
    monkeypatch.setattr(ledger, "PART_LINES", 2)
    monkeypatch.setattr(dataset_making, "_MEGABYTE", 1)
    monkeypatch.setattr(dataset_writer, "ROWS_PER_GROUP", 8)
    made = merged(a, b, out=tmp_path / "c")
    dump = open_dump(tmp_path / "c")
    assert dump.manifest.shards == [] and len(dump.manifest.ledger or []) == 2
    assert made.shards == len(dump.shards) == 4
    assert [row["id"] for row in rows_of(tmp_path / "c")] == [*a.samples, *b.samples]
    assert whole(tmp_path / "c")


def test_equal_input_gives_equal_bytes(a, b, tmp_path) -> None:
    one, two = (merged(a, b, out=tmp_path / name) for name in ("c", "d"))
    assert one.identity == two.identity


def test_an_id_of_two_samples_is_refused_unless_the_first_may_win(tmp_path) -> None:
    a = write_dump(tmp_path / "a", count=10, seed=3)
    b = write_dump(tmp_path / "b", count=10, seed=3, longest=30)  # the same ids, other tokens
    with pytest.raises(MismatchError, match=r"mean other samples.*'s3-0000\d'.*--first-wins"):
        merged(a, b, out=tmp_path / "c")
    assert nothing_left(tmp_path, "a", "b")
    merged(a, b, out=tmp_path / "c", first_wins=True)
    rows = rows_of(tmp_path / "c")
    assert all(row.pop("origin") == a.manifest.identity for row in rows)
    assert rows == rows_of(a.path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (changed("teacher", name="other"), "teacher.name: synthetic here, other there"),
        (changed("tokenizer", size=63), "tokenizer.size: 64 here, 63 there"),
        (changed("", capture=Capture(top_k=8)), "capture.top_k: 64 here, 8 there"),
        (changed("", capture=Capture(top_k=8)), "potstill dataset reencode"),
    ],
)
def test_dumps_that_do_not_fit_show_each_differing_field(a, tmp_path, settings, words) -> None:
    other = write_dump(tmp_path / "other", count=4, seed=1, settings=settings)
    with pytest.raises(MismatchError, match=words):
        merged(a, other, out=tmp_path / "c")


def test_licences_are_combined(a, tmp_path) -> None:
    other = write_dump(tmp_path / "x", count=4, seed=1, settings=changed("corpus", license="mit"))
    unknown = write_dump(
        tmp_path / "y", count=4, seed=2, settings=changed("teacher", license="unknown")
    )
    merged(a, other, unknown, out=tmp_path / "c")
    manifest = open_dump(tmp_path / "c").manifest
    assert (manifest.corpus.license, manifest.teacher.license) == ("other", "unknown")
    stated = {(part.role, part.license) for part in stated_in(manifest)}
    assert stated >= {("corpus", "mit"), ("corpus", "apache-2.0"), ("teacher", "unknown")}
    card = (tmp_path / "c/README.md").read_text()
    assert "By `merge`" in card and f"`{other.manifest.identity}` | synthetic | 0" in card


def test_only_what_all_hold_is_kept_and_texts_of_any(a, tmp_path) -> None:
    wide = Capture(temperatures=[1.0, 3.0], optional_columns=["max_logit", "prompt", "verdict"])
    other = write_dump(tmp_path / "x", count=4, seed=1, capture=wide)
    made = merged(a, other, out=tmp_path / "c")
    capture = open_dump(tmp_path / "c").manifest.capture
    assert capture.temperatures == [1.0]
    assert capture.optional_columns == ["prompt", "verdict", "origin"]
    assert {(row["prompt"], row["verdict"]) for row in rows_of(tmp_path / "c")} == {("", None)}
    assert f"of {other.path} are not kept: temperature 3, max_logit" in made.notes
    assert whole(tmp_path / "c")


def test_hidden_states_go_along_or_are_left_out(a, tmp_path) -> None:
    policy = with_widths(hidden_policy(), 6, 4)
    h, i = (write_dump(tmp_path / f"h{n}", count=6, seed=n, capture=policy) for n in (4, 5))
    merged(h, i, out=tmp_path / "c")
    assert whole(tmp_path / "c")
    assert rows_of(tmp_path / "c", "hidden") == [
        *rows_of(h.path, "hidden"),
        *rows_of(i.path, "hidden"),
    ]
    plain = write_dump(tmp_path / "p", count=4, seed=6, capture=Capture(top_k=16, tail_samples=32))
    with pytest.raises(MismatchError, match="--no-hidden"):
        merged(h, plain, out=tmp_path / "d")
    made = merged(h, plain, out=tmp_path / "d", hidden=False)
    assert any("hidden states" in note for note in made.notes)
    assert not (tmp_path / "d/hidden").exists() and whole(tmp_path / "d")


def test_nothing_is_overwritten_and_nothing_half_written(a, b, tmp_path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/mine.txt").write_text("mine")
    with pytest.raises(ConflictError, match="nothing is overwritten"):
        merged(a, b, out=tmp_path / "c")
    assert nothing_left(tmp_path / "c", "mine.txt")
    shard = b.path / "data" / b.manifest.shards[-1].name
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DamagedError, match=shard.name):
        merged(a, b, out=tmp_path / "d")
    assert nothing_left(tmp_path, "a", "b", "c")


def test_a_merge_needs_two_different_dumps(a, tmp_path) -> None:
    with pytest.raises(InputError, match="two dumps or more; found 1"):
        merged(a, out=tmp_path / "c")
    with pytest.raises(InputError, match="the same dump as"):
        merged(a, Dump(tmp_path / "a/../a", a.manifest, {}, {}), out=tmp_path / "c")
    with pytest.raises(InputError, match="potstill dataset push"):
        merge(MergeSettings(dumps=[str(a.path)], out="s3://bucket/c"))


def test_the_command(a, b, tmp_path) -> None:
    ran = potstill("dataset", "merge", a.path, b.path, "--out", tmp_path / "c", "--json")
    assert ran.code == 0, ran.err
    assert ran.lines[0]["event"] == "launch" and ran.lines[-1]["event"] == "done"
    assert ran.lines[-1]["rows"] == len(by_id(tmp_path / "c")) == 32
    again = potstill("dataset", "merge", a.path, b.path, "--out", tmp_path / "c")
    assert again.code == 3 and "Choose another --out" in again.err
