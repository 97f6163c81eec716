from pathlib import Path

import pytest
import yaml

from schemas.dump_folder import open_dump
from stage2_student.card import Made, model_card
from stage2_student.objective import objective_of
from stage2_student.provenance import provenance, write_provenance
from stage2_student.student import Student
from stage2_student.student_source import Source
from tests.stage2_student.architectures import build
from tests.stage2_student.trainings import make_dump, make_training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cards")
    make_dump(path / "dump")
    return path


def card(folder, source, **given):
    settings = make_training(folder, **given)
    student = Student(model=build("llama"), tokenizer=None, source=source)
    made = Made(
        loss=objective_of(settings).written,
        steps=1200,
        tokens=34567,
        weights="of step 9",
        created_by="potstill 1",
    )
    text = model_card(settings, [open_dump(folder / "dump")], student, made)
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_base_model_is_what_the_weights_came_from(folder):
    source = Source(folder=Path("x"), name="org/base", license="mit")
    front, body = card(folder, source, student="x", student_layers=[0, 2])
    assert front["base_model"] == "org/base"
    assert front["license"] == "other"
    assert "**org/base**, of which the layers 0, 2 were kept" in body
    for line in ("| teacher synthetic | apache-2.0 |", "| base model org/base | mit |"):
        assert line in body
    assert "1,200, 34,567" in body


def test_a_student_from_scratch_has_no_base_model(folder):
    front, body = card(folder, None, ce_weight=0.25, temperature=2.0)
    assert "base_model" not in front
    assert front["license"] == "apache-2.0"
    assert "Its weights were random" in body
    assert "0.75*fkl(temperature=2, tail=sample) + 0.25*ce |" in body
    assert "\n\n\n" not in body
    assert "| tasks |" not in body


def test_how_to_ask_for_a_task_is_said(folder):
    given = {"tasks": ["rationale=0.5", "answer=1"], "task_prefixes": ["answer=Answer: "]}
    _, body = card(folder, None, **given)
    assert "| tasks | rationale=0.5, answer=1; asked for its answer with `Answer: ` before" in body


def test_a_base_without_licence_is_unknown(folder):
    source = Source(folder=Path("x"), name="base", license=None)
    front, body = card(folder, source, student="x")
    assert front["license"] == "unknown" and "| base model base | **unknown** |" in body
    assert "Nobody said" in body


def test_what_the_licences_ask_for_is_carried_on(folder):
    source = Source(folder=Path("x"), name="org/base", license="cc-by-nc-sa-4.0")
    _, body = card(folder, source, student="x")
    assert "- share-alike (base model org/base): " in body
    assert "- attribution (teacher synthetic, corpus synthetic, base model org/base): " in body
    assert "Nobody said" not in body


def test_provenance_is_the_manifest_without_its_ledger(folder):
    dump = open_dump(folder / "dump")
    (entry,) = provenance([dump])
    assert entry["identity"] == dump.manifest.identity
    assert entry["teacher"]["name"] == "synthetic"
    assert "shards" not in entry
    assert entry["tokens"] == sum(shard.tokens for shard in dump.shards)


def test_provenance_is_written_as_a_list(folder, tmp_path):
    import json

    write_provenance(tmp_path, [open_dump(folder / "dump")])
    assert len(json.loads((tmp_path / "dump.json").read_text())) == 1
