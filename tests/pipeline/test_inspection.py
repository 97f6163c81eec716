from pathlib import Path

import numpy as np
import pytest

from pipeline.inspection import kept_probabilities
from pipeline.inspection_view import colour, quoted
from schemas.dump_folder import open_dump
from tests.dumps import Dump, hidden_policy, write_dump
from tests.pipeline.command_line import potstill


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    return write_dump(tmp_path_factory.mktemp("inspect") / "dump")


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def test_a_sample_shows_each_token_with_what_the_teacher_thought_of_it(dump: Dump) -> None:
    sample = dump.samples["s0-00003"]
    ran = potstill("inspect", dump.path, "--id", sample.id, "--json")
    assert ran.code == 0, ran.err
    (shown,) = ran.lines
    tokens = shown["tokens"]
    assert [t["id"] for t in tokens] == sample.input_ids.tolist()
    start, end = sample.captured[0]
    for token in tokens:
        before = token["index"] - 1
        if not start <= before < end:
            assert token["probability"] is None
            assert token["alternatives"] == []
            continue
        exact = softmax(dump.logits[sample.id][before])
        assert token["probability"] == pytest.approx(exact[token["id"]], rel=1e-4)
        best = np.argsort(-exact, kind="stable")[: len(token["alternatives"])]
        assert [a["id"] for a in token["alternatives"]] == best.tolist()
        for alternative in token["alternatives"]:
            assert alternative["probability"] == pytest.approx(exact[alternative["id"]], rel=0.05)
    assert {t["kind"] for t in tokens} == {"prompt", "response"}


def test_for_people_the_same_as_a_table(dump: Dump) -> None:
    ran = potstill("inspect", dump.path, "--id", "s0-00003")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert len(lines) == 2 + len(dump.samples["s0-00003"].input_ids)
    assert "\x1b" not in ran.out


def test_the_summary_is_of_the_manifest(dump: Dump) -> None:
    ran = potstill("inspect", dump.path, "--json")
    (found,) = ran.lines
    assert found["rows"] == 24
    assert found["tokens"] == sum(len(s.input_ids) for s in dump.samples.values())
    assert found["policy"] == "every entry with p ≥ 1/512, at most 64"
    assert found["first_ids"] == ["s0-00000", "s0-00001", "s0-00002"]
    shown = potstill("inspect", dump.path)
    assert f"{found['bytes_per_token']:.1f} bytes/token" in shown.out
    assert "apache-2.0" in shown.out
    assert "hidden states" not in shown.out
    assert "--id s0-00000" in shown.err


def test_hidden_states_are_told_with_what_they_weigh(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", capture=hidden_policy())
    (found,) = potstill("inspect", dump.path, "--json").lines
    assert found["hidden"] == "layers 0, 2, last; 6 wide, int8"
    size = sum(file.stat().st_size for file in (dump.path / "hidden").iterdir())
    assert found["hidden_bytes_per_token"] == pytest.approx(size / found["tokens"])
    shown = " ".join(potstill("inspect", dump.path).out.split())
    assert f"6 wide, int8; {found['hidden_bytes_per_token']:.1f} bytes/token more" in shown


def test_an_unknown_id_names_some(dump: Dump) -> None:
    ran = potstill("inspect", dump.path, "--id", "nobody")
    assert ran.code == 2
    assert "'nobody'" in ran.err
    assert "s0-00000" in ran.err


def test_decoding_agrees_with_the_format(dump: Dump) -> None:
    opened = open_dump(dump.path)
    row = opened.shard_file(opened.shards[0]).read_row_group(0).to_pylist()[0]
    for logits, tail in zip(row["topk_logits"], row["tail_logmass"], strict=True):
        kept = kept_probabilities(logits, tail)
        assert kept.sum() == pytest.approx(1 - np.exp(tail), rel=1e-6)


def test_nothing_of_a_token_reaches_the_terminal_raw() -> None:
    assert quoted("\x1b[2J\n\u202e\u200b\x00 é猫") == r"‹\x1b[2J\n\u202e\u200b\x00 é猫›"


@pytest.mark.parametrize(("p", "style"), [(None, "dim"), (0.9, "green"), (0.0, "red")])
def test_colours(p: float | None, style: str) -> None:
    assert colour(p) == style


def test_a_damaged_shard_is_damage_and_no_bug(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump")
    shard = tmp_path / "dump" / "data" / dump.manifest.shards[0].name
    shard.write_bytes(shard.read_bytes()[:-100])
    for words in (["inspect", dump.path], ["verify", dump.path]):
        ran = potstill(*words)
        assert ran.code == 1
        assert "Traceback" not in ran.err
        assert shard.name in ran.out + ran.err


def test_verify_lists_findings_with_their_cure(dump: Dump, tmp_path: Path) -> None:
    assert potstill("verify", dump.path).code == 0
    other = write_dump(tmp_path / "dump")
    shard = other.path / "data" / other.manifest.shards[1].name
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    ran = potstill("verify", other.path, "--json")
    assert ran.code == 1
    (found,) = ran.lines
    assert not found["ok"]
    assert shard.name in found["findings"][0]["where"]
    assert found["findings"][0]["cure"]
    assert "do not use this dump" in potstill("verify", other.path).out
