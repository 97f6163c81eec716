import hashlib
import json
import socket

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.columns import TEXTS
from schemas.dump_folder import open_dump
from schemas.errors import ConfigError
from schemas.manifest import Capture
from schemas.verify import verify
from stage1_teacher.privacy_settings import TEXT_FIELDS
from stage1_teacher.probability_floor import floored
from stage1_teacher.run import dump
from stage1_teacher.scrubbing import open_scrubber
from stage1_teacher.settings import DumpSettings
from tests.capture_twin import capture_twin
from tests.dumps import make_samples
from tests.tiny import tiny_teacher, write_rows

MAIL = "ann@example.org"
ROWS = [
    {"id": f"person-{i}", "source": "letters", "prompt": f"Write to {MAIL} about {i}."}
    for i in range(4)
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return tiny_teacher(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def dumped(teacher, tmp_path):
    """The rows of a dump of ROWS answered by the teacher, and its folder."""

    def make(**given):
        corpus = write_rows(tmp_path / "rows.jsonl", ROWS)
        out = tmp_path / "dump"
        fixed = {"teacher": str(teacher), "corpus": str(corpus), "out": str(out)}
        fixed |= {"license": "unknown", "dtype": "float32", "generate": True, "max_length": 120}
        fixed |= {"keep_truncated": True, "max_new_tokens": 6, "deduplicate": False}
        dump(DumpSettings(**fixed, **given))
        assert verify(str(out)).ok
        tables = [pq.read_table(path) for path in sorted((out / "data").glob("*.parquet"))]
        return [row for table in tables for row in table.to_pylist()], out

    return make


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def test_hashes_are_the_same_every_night(dumped):
    rows, out = dumped(hash_fields=["id", "source", "prompt"])
    assert [row["id"] for row in rows] == [sha(f"id:person-{i}") for i in range(4)]
    assert {row["source"] for row in rows} == {sha("source:letters")}
    assert rows[0]["prompt"] == sha(f"prompt:{ROWS[0]['prompt']}")
    assert "person-0" not in rows[0]["provenance"], "the id stands there, too"
    assert open_dump(out).manifest.privacy.hashed == ["id", "prompt", "source"]
    assert "- stored as hashes: id, prompt, source" in (out / "README.md").read_text()


def test_dropped_fields_are_not_there(dumped):
    rows, out = dumped(drop_fields=["prompt", "source", "provenance"])
    assert "prompt" not in rows[0] and "provenance" not in rows[0] and rows[0]["response"]
    assert {row["source"] for row in rows} == {"rows"}, "the corpus's name"
    assert rows[0]["id"] == "person-0"
    assert (out / "preview").exists()


def test_without_text_no_text_is_stored_anywhere(dumped):
    rows, out = dumped(text=False)
    assert not set(TEXT_FIELDS) & set(rows[0]) and rows[0]["finish_reason"]
    assert not (out / "preview").exists()
    card = (out / "README.md").read_text()
    assert "preview" not in card.replace("no preview", "")
    for path in out.rglob("*"):
        if path.is_file() and "tokenizer" not in path.parts:
            assert MAIL.encode() not in path.read_bytes(), path


def test_scrubbed_rows_reach_the_teacher_scrubbed(dumped, teacher):
    from transformers import AutoTokenizer

    rows, out = dumped(scrub=["EMAIL_ADDRESS"])
    text = AutoTokenizer.from_pretrained(teacher).decode(rows[0]["input_ids"])
    assert "<EMAIL_ADDRESS>" in text and MAIL not in text
    assert rows[0]["prompt"] == "Write to <EMAIL_ADDRESS> about 0."
    privacy = open_dump(out).manifest.privacy
    assert privacy.scrubbed == ["EMAIL_ADDRESS"] and privacy.scrubber.startswith("presidio 2")
    assert "as far as presidio" in (out / "README.md").read_text()


def test_what_presidio_finds_by_pattern(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", refused)
    scrub = open_scrubber(["EMAIL_ADDRESS", "IP_ADDRESS"], None, "en")
    assert (
        scrub("From 10.0.0.7 to bob@x.org: hello") == "From <IP_ADDRESS> to <EMAIL_ADDRESS>: hello"
    )
    assert scrub("nothing here") == "nothing here" and scrub("") == ""
    assert "<CREDIT_CARD>" in open_scrubber(["all"], None, "en")("my card 4012888888881881 is")


def refused(*where):
    raise AssertionError(f"scrubbing asks the network: {where}")


@pytest.mark.parametrize(
    ("entities", "model", "words"),
    [
        (["EMAIL"], None, ["EMAIL", "EMAIL_ADDRESS"]),
        (["PERSON"], None, ["PERSON", "--scrub-model"]),
        (["all"], "no_such_model", ["no_such_model", "spacy download"]),
    ],
)
def test_what_presidio_does_not_find(entities, model, words):
    with pytest.raises(ConfigError) as error:
        open_scrubber(entities, model, "en")
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"drop_fields": ["input_ids"]}, ["input_ids", "cannot be left out"]),
        ({"hash_fields": ["verdict"]}, ["verdict"]),
        ({"drop_fields": ["gold"], "hash_fields": ["gold"]}, ["gold", "dropped and hashed"]),
        ({"scrub_model": "x"}, ["--scrub"]),
    ],
)
def test_settings_that_cannot_be(given, words):
    with pytest.raises(ConfigError) as error:
        DumpSettings(teacher="t", corpus="c", out="o", **given)
    assert all(word in str(error.value) for word in words)


def test_nothing_asked_for_is_nothing_said():
    plain = DumpSettings(teacher="t", corpus="c", out="o")
    assert plain.privacy() is None and plain.capture().probability_floor is None
    assert "privacy" not in json.dumps(plain.capture().model_dump())
    assert not {"floor"} & set(Capture().model_dump())
    assert set(TEXT_FIELDS) <= set(TEXTS)


def test_a_floor_raises_the_threshold_and_removes_rare_draws():
    sample = make_samples(1, longest=40)[0]
    logits = np.random.default_rng(0).standard_normal((len(sample.input_ids), 64)) * 3
    logits = logits.astype(np.float32)
    settings = DumpSettings(teacher="t", corpus="c", out="o", top_k=4, probability_floor=0.02)
    policy = settings.capture()
    assert (policy.min_prob, policy.top_k) == (0.02, 4)
    whole = capture_twin(sample, logits, policy, 0)
    found = floored(whole, policy)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))[sample.positions]
    at = np.repeat(np.arange(len(sample.positions)), np.diff(whole.tail.offsets))
    expected = p[at, whole.tail.ids] >= 0.02
    assert 0 < expected.sum() < len(expected)
    np.testing.assert_array_equal(found.tail.ids, whole.tail.ids[expected])
    for position in range(len(sample.positions)):
        inside = slice(*found.tail.offsets[position : position + 2])
        assert np.all(p[position, found.tail.ids[inside]] >= 0.02)
    np.testing.assert_array_equal(found.tail_logmass, whole.tail_logmass)


def test_a_dump_with_a_floor_holds_nothing_below_it(dumped):
    rows, out = dumped(probability_floor=0.01, tail_samples=256)
    for row in rows:
        for name in ("topk", "tail"):
            for x, gaps, tail in zip(
                row["topk_logits"], row[f"{name}_logits"], row["tail_logmass"], strict=True
            ):
                if name == "topk" and len(gaps) == 1:
                    continue  # the most probable entry is always there
                logprobs = np.asarray(gaps) - np.log(np.exp(x).sum()) + np.log1p(-np.exp(tail))
                assert np.all(logprobs > np.log(0.01) - 0.1), "but for rounding"
    assert open_dump(out).manifest.capture.probability_floor == 0.01
    assert "less probable than 0.01" in (out / "README.md").read_text()
