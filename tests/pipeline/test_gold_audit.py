import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.gold_audit import audit
from pipeline.gold_policies import OWN
from schemas.dump_folder import open_dump
from schemas.errors import DamagedError, InputError
from schemas.gold import read_gold_info, read_head, read_sequences
from tests.pipeline.command_line import potstill
from tests.tiny import tiny_teacher, write_rows

ROWS = [
    {"text": f"The stone {i} counts the other river, and then there are {i}."} for i in range(9)
]


def make(folder: Path, *words: object, **teacher: object) -> Path:
    model = tiny_teacher(folder / "teacher", **teacher)
    corpus = write_rows(folder / "corpus.jsonl", ROWS)
    ran = potstill(
        *("dump", "--teacher", model, "--corpus", corpus, "--out", folder / "dump"),
        *("--unit-size", 4, "--gold", 3, "--top-k", 16, "--min-prob", 0.01, *words),
    )
    assert ran.code == 0, ran.err
    return folder / "dump"


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("gold"), "--dtype", "float32")


def test_full_distributions_are_had_again(dump: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = open_dump(dump)
    info = read_gold_info(folder)
    weight, _ = read_head(folder, info)
    model = AutoModelForCausalLM.from_pretrained(dump.parent / "teacher").eval()
    rows = {row["id"]: row for shard in folder.shards for row in rows_of(folder, shard)}
    found = list(read_sequences(folder, info))
    assert len(found) == 3 and len({s.unit for s in found}) == 3, "spread over the dump"
    for sequence in found:
        with torch.inference_mode():
            theirs = model(torch.tensor([rows[sequence.id]["input_ids"]])).logits[0, :-1].numpy()
        np.testing.assert_allclose(sequence.states @ weight.T, theirs, atol=1e-4)


def rows_of(folder, shard):
    return folder.shard_file(shard).read().select(["id", "input_ids"]).to_pylist()


@pytest.mark.parametrize("architecture", ["gemma2", "granite", "cohere"])
def test_scale_and_softcap_of_the_head_are_known(architecture: str, tmp_path: Path) -> None:
    dump = make(tmp_path, "--dtype", "float32", architecture=architecture)
    assert audit(open_dump(dump)).stored_kl_mean < 1e-3


def test_what_is_stored_is_what_the_own_policy_gives(dump: Path) -> None:
    found = audit(open_dump(dump))
    own = found.policies[0]
    assert own.name == OWN and found.ok and found.top1 == 1
    assert own.kl_mean == pytest.approx(found.stored_kl_mean, rel=0.05)
    assert own.tail_error == pytest.approx(found.tail_error, rel=0.05)
    assert 0 < own.kl_mean < 1e-3 and own.kl_max < 5e-3


def test_more_bytes_are_worth_something(dump: Path) -> None:
    by_name = {row.name: row for row in audit(open_dump(dump)).policies}
    few, many = by_name["k 32"], by_name["k 128"]
    assert few.bytes_per_token < many.bytes_per_token
    assert few.gradient_error > 1.5 * many.gradient_error
    floored = by_name["default, floor 1e-3"]
    assert floored.drawn < by_name["default"].drawn
    assert all(row.kl_mean < 1e-3 for row in by_name.values())


def test_a_bfloat16_teacher_is_audited_in_its_own_rounding(tmp_path: Path) -> None:
    found = audit(open_dump(make(tmp_path)))
    assert found.policies[0].kl_mean < 1e-3 and found.stored_kl_mean < 2e-2


def test_rows_that_are_not_the_samples_are_found_out(dump: Path, tmp_path: Path) -> None:
    """States of other positions than those that are stored: the teacher never said that."""
    import shutil

    from schemas.gold import states_schema

    copy = tmp_path / "dump"
    shutil.copytree(dump, copy)
    import pyarrow as pa
    import pyarrow.parquet as pq

    info = read_gold_info(open_dump(copy))
    path = copy / "gold" / "states.parquet"
    table = pq.read_table(path)
    turned = [list(reversed(states)) for states in table["states"].to_pylist()]
    schema = states_schema(info)
    table = table.set_column(
        3, schema.field("states"), pa.array(turned, schema.field("states").type)
    )
    pq.write_table(table.cast(schema), path, store_schema=False, use_dictionary=False)
    text = json.loads((copy / "gold" / "gold.json").read_text())
    text["states"]["bytes"] = path.stat().st_size
    (copy / "gold" / "gold.json").write_text(json.dumps(text))
    ran = potstill("verify", copy, "--gold", "--json")
    assert ran.code == 1 and not ran.lines[0]["ok"]


def test_a_dump_without_a_sample_says_how_to_get_one(dump: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "dump"
    shutil.copytree(dump, copy)
    shutil.rmtree(copy / "gold")
    with pytest.raises(InputError, match="--gold 8"):
        audit(open_dump(copy))


def test_another_dumps_sample_is_refused(dump: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "dump"
    shutil.copytree(dump, copy)
    path = copy / "gold" / "gold.json"
    path.write_text(path.read_text().replace(open_dump(dump).manifest.plan, "sha256:" + "0" * 64))
    with pytest.raises(DamagedError, match="another dump"):
        audit(open_dump(copy))
    path.write_text((dump / "gold" / "gold.json").read_text())
    with (copy / "gold" / "head.parquet").open("r+b") as file:
        file.seek(200)
        file.write(b"\xff" * 16)
    with pytest.raises(DamagedError, match=r"head\.parquet"):
        audit(open_dump(copy))


def test_the_command_shows_a_table_and_a_plot(dump: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    ran = potstill("verify", dump, "--gold", "--plot", plot)
    assert ran.code == 0, ran.err
    assert "k 128" in ran.out and "bytes/token" in ran.out and "✓" in ran.out
    assert plot.read_text().lstrip().startswith("<svg")
    assert potstill("verify", dump, "--plot", plot).code == 2
    assert potstill("verify", dump, "--gold", "--plot", tmp_path / "plot.pdf").code == 2
