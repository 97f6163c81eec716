"""Some rows of a dump, and the same rows in other shards."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset_making import Made
from pipeline.dataset_reshard import reshard
from pipeline.dataset_settings import ReshardSettings, SubsetSettings
from pipeline.dataset_subset import in_share, subset
from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, InputError
from schemas.manifest import Capture
from stage1_teacher.hidden_policy import with_widths
from tests.dumps import Dump, hidden_policy, write_dump
from tests.pipeline.datasets import by_id, nothing_left, rows_of, whole


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    path = tmp_path_factory.mktemp("subset") / "dump"
    return write_dump(path, count=60, capture=with_widths(hidden_policy(), 6, 4))


def taken(dump: Dump, out: Path, **more: Any) -> Made:
    return subset(SubsetSettings(dump=str(dump.path), out=str(out / "s"), **more))


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"sources": ["*/a"]}, lambda s: s.source.endswith("/a")),
        ({"with_segments": ["prompt"]}, lambda s: s.segments[0].kind == "prompt"),
        ({"min_tokens": 20, "max_tokens": 30}, lambda s: 20 <= len(s.input_ids) <= 30),
        ({"share": 0.3}, lambda s: in_share(s.id, 0.3)),
        (
            {"share": 0.6, "sources": ["synthetic/b"]},
            lambda s: in_share(s.id, 0.6) and s.source == "synthetic/b",
        ),
    ],
)
def test_rows_that_pass_every_filter(dump: Dump, tmp_path: Path, filters, wanted) -> None:
    made = taken(dump, tmp_path, **filters)
    chosen = [name for name, sample in dump.samples.items() if wanted(sample)]
    assert 0 < len(chosen) < 60
    assert [row["id"] for row in rows_of(tmp_path / "s")] == chosen
    every, states = by_id(dump.path), by_id(dump.path, "hidden")
    assert rows_of(tmp_path / "s") == [every[name] for name in chosen]
    assert rows_of(tmp_path / "s", "hidden") == [states[name] for name in chosen]
    assert sum(made.left_out.values()) == 60 - len(chosen)
    assert whole(tmp_path / "s")


def test_by_ids_from_a_file(dump: Dump, tmp_path: Path) -> None:
    ids = list(dump.samples)[5:50:9]
    (tmp_path / "ids.txt").write_text("\n".join([*reversed(ids), ""]))
    taken(dump, tmp_path, ids=str(tmp_path / "ids.txt"), hidden=False)
    assert [row["id"] for row in rows_of(tmp_path / "s")] == ids
    assert not (tmp_path / "s/hidden").exists()
    derived = open_dump(tmp_path / "s").manifest.derived
    assert derived is not None and "ids" in derived.steps[0].arguments
    (tmp_path / "ids.txt").write_text("nobody\n" + ids[0])
    with pytest.raises(InputError, match=r"1 of the 2 ids .* are not in .* such as nobody"):
        subset(
            SubsetSettings(
                dump=str(dump.path), out=str(tmp_path / "t"), ids=str(tmp_path / "ids.txt")
            )
        )


def test_by_verdict(tmp_path: Path) -> None:
    judged = write_dump(tmp_path / "d", count=8, capture=Capture(optional_columns=["verdict"]))
    taken(judged, tmp_path, verdicts=["unverified"])
    assert len(rows_of(tmp_path / "s")) == 8
    with pytest.raises(InputError, match=r"(?s)none of the 8 rows.*--verdicts correct: 8 left out"):
        subset(SubsetSettings(dump=str(judged.path), out=str(tmp_path / "t"), verdicts=["correct"]))


def test_nothing_chosen_writes_nothing(dump: Dump, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--min-tokens 1000: 60 left out"):
        taken(dump, tmp_path, min_tokens=1000)
    with pytest.raises(InputError, match=r"no row of .* is of a source 'web'.*synthetic/a"):
        taken(dump, tmp_path, sources=["synthetic/*", "web"])
    with pytest.raises(ConfigError, match="at least one of --sources"):
        taken(dump, tmp_path)
    with pytest.raises(ConfigError, match="holds no verdicts"):
        taken(dump, tmp_path, verdicts=["correct"])
    assert nothing_left(tmp_path)


def test_shares_are_nested_and_about_as_large_as_asked(dump: Dump) -> None:
    names = [f"document-{number}" for number in range(4000)]
    small, large = ({n for n in names if in_share(n, s)} for s in (0.1, 0.4))
    assert small < large
    assert abs(len(small) - 400) < 80 and abs(len(large) - 1600) < 130
    assert in_share("x/w0", 0.5) == in_share("x/w9", 0.5), "windows of a text stay together"


def test_reshard_keeps_rows_and_order(tmp_path: Path) -> None:
    small = write_dump(tmp_path / "small", count=150, unit_size=4)
    settings = ReshardSettings(dump=str(small.path), out=str(tmp_path / "large"))
    made = reshard(settings)
    assert len(small.manifest.shards) == 38 and made.shards == 1
    assert rows_of(tmp_path / "large") == rows_of(small.path)
    assert made.bytes < sum(shard.bytes for shard in small.manifest.shards)
    assert whole(tmp_path / "large")


def test_shards_end_at_the_size_asked_for(tmp_path: Path, monkeypatch) -> None:
    dump = write_dump(tmp_path / "d", count=160, unit_size=160, rows_per_group=64)
    monkeypatch.setattr("pipeline.dataset_making._MEGABYTE", 20_000)
    made = reshard(ReshardSettings(dump=str(dump.path), out=str(tmp_path / "cut"), shard_size=1))
    assert made.shards == 3
    assert rows_of(tmp_path / "cut") == rows_of(dump.path)
    assert whole(tmp_path / "cut")
