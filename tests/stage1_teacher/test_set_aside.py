"""The failure budget: what fails is set aside with its reason, the rest of the dump is whole."""

import json
from dataclasses import replace

import numpy as np
import pytest

from schemas import layout
from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, CorpusError, DamagedError, InputError, TemporaryError
from schemas.manifest import Capture
from schemas.verify import verify
from stage1_teacher import run
from stage1_teacher.corpus import count_corpus, open_corpus
from stage1_teacher.corpus_rows import Columns
from stage1_teacher.preparation import prepare
from stage1_teacher.set_aside import Aside, Failure, answered, failure
from stage1_teacher.settings import DumpSettings
from tests.dumps import make_samples
from tests.stage1_teacher.prepared_dumps import TwinEngine, prepared_dump
from tests.tiny import tiny_teacher, write_rows


class Fragile(TwinEngine):
    """Raises whenever one of `bad` is among the samples, after some others were answered."""

    def __init__(self, bad, error=None):
        super().__init__()
        self.bad, self.calls = set(bad), 0
        self.error = error or ValueError("shape mismatch in /home/me/models/x.py")

    def capture(self, samples, capture, seed):
        self.calls += 1
        for index, signals in super().capture(samples, capture, seed):
            if samples[index].id in self.bad:
                raise self.error
            yield index, signals


@pytest.fixture
def dump(monkeypatch, tmp_path):
    def start(engine, allowed, out="out"):
        prepared = replace(
            prepared_dump(engine=engine, capture=Capture(top_k=16)), allowed_failures=allowed
        )
        monkeypatch.setattr(run, "prepare", lambda settings, report: prepared)
        return run.dump(DumpSettings(teacher="t", corpus="c", out=str(tmp_path / out)))

    return start


def ids_of(path):
    found = open_dump(str(path))
    files = [found.shard_file(shard) for shard in found.shards if shard.rows]
    return [i for file in files for i in file.read(columns=["id"])["id"].to_pylist()]


IDS = [sample.id for sample in make_samples(40)]


def test_what_fails_is_set_aside_with_its_reason_and_nothing_else_is(dump, tmp_path):
    bad = {IDS[3], IDS[4], IDS[30]}
    summary = dump(Fragile(bad), allowed=3)
    assert (summary.failed, summary.rows) == (3, 37)
    assert ids_of(tmp_path / "out") == [i for i in IDS if i not in bad]
    lines = (tmp_path / "out" / layout.SET_ASIDE_FILE).read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["id"] for line in told] == [i for i in IDS if i in bad]
    assert {line["step"] for line in told} == {"teacher"}
    assert told[0]["reason"] == "ValueError: shape mismatch in x.py", "no folder of this machine"
    assert verify(str(tmp_path / "out")).ok
    assert sum(shard.failed for shard in open_dump(str(tmp_path / "out")).shards) == 3


def test_the_rest_is_the_same_as_in_a_dump_without_failures(dump, tmp_path):
    dump(Fragile({IDS[3]}), allowed=1)
    dump(TwinEngine(), allowed=0, out="whole")
    with_bad, whole = (open_dump(str(tmp_path / name)) for name in ("out", "whole"))
    for mine, theirs in zip(with_bad.shards[1:], whole.shards[1:], strict=True):
        assert with_bad.shard_file(mine).read() == whole.shard_file(theirs).read()
    first = whole.shard_file(whole.shards[0]).read().to_pylist()
    rest = [row for row in first if row["id"] != IDS[3]]
    assert with_bad.shard_file(with_bad.shards[0]).read().to_pylist() == rest


def test_one_more_than_allowed_ends_it_and_a_larger_budget_goes_on(dump, tmp_path):
    engine = Fragile({IDS[3], IDS[20], IDS[30]})
    with pytest.raises(InputError, match=r"3 samples failed, and --max-failed allows 2") as caught:
        dump(engine, allowed=2)
    assert caught.value.exit_code == 2
    assert "shape mismatch" in str(caught.value)
    assert not (tmp_path / "out" / layout.MANIFEST).exists()
    again = Fragile({IDS[3], IDS[20], IDS[30]})
    summary = dump(again, allowed=3)
    assert (summary.failed, summary.units_done) == (3, 2), "finished units were computed again"


def test_without_a_budget_the_first_error_goes_through_as_it_is(dump, tmp_path):
    with pytest.raises(ValueError, match="shape mismatch"):
        dump(Fragile({IDS[3]}), allowed=0)
    assert not (tmp_path / "out" / layout.SET_ASIDE).exists()


def test_an_error_of_the_run_is_never_set_aside(dump):
    engine = Fragile({IDS[3]}, TemporaryError("vLLM's process died"))
    with pytest.raises(TemporaryError):
        dump(engine, allowed=40)
    assert engine.calls == 1


def test_numbers_that_no_reader_would_take_are_set_aside(dump, tmp_path):
    def spoil(signals):
        spoilt.append(len(signals.token_logprobs))
        if len(spoilt) != 10:
            return signals
        bad = signals.tail_logmass.copy()
        bad[-1] = np.nan
        return replace(signals, tail_logmass=bad)

    spoilt = []
    summary = dump(TwinEngine(change=spoil), allowed=1)
    assert (summary.failed, summary.rows) == (1, 39)
    line = json.loads((tmp_path / "out" / layout.SET_ASIDE_FILE).read_text())
    assert line["step"] == "store" and "found nan" in line["reason"]
    assert verify(str(tmp_path / "out")).ok
    spoilt.clear()
    with pytest.raises(DamagedError):
        dump(TwinEngine(change=spoil), allowed=0, out="strict")


def test_a_failure_costs_one_more_call_per_sample_that_was_not_answered():
    def ask(items):
        calls.append(list(items))
        for index, item in enumerate(items):
            if item == "bad":
                raise RuntimeError("no")
            yield index, item.upper()

    calls = []
    aside = Aside(5)
    found = dict(answered(ask, ["a", "bad", "c", "d"], str, aside))
    assert found == {0: "A", 2: "C", 3: "D"}
    assert calls == [["a", "bad", "c", "d"], ["bad"], ["c"], ["d"]]
    assert aside.failures == [Failure(id="bad", step="teacher", reason="RuntimeError: no")]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("cannot read /srv/data/x.jsonl, line 3", "cannot read x.jsonl, line 3"),
        ("s3://bucket/key/part.parquet is short", "part.parquet is short"),
        ("a ratio of 3/4, and and/or", "a ratio of 3/4, and and/or"),
    ],
)
def test_reasons_name_no_folder(text, kept):
    assert failure("x", "read", CorpusError(text)).reason == kept


@pytest.mark.parametrize(
    ("given", "rows", "allowed"),
    [
        ("0.1%", 5000, 5),
        ("0.1%", 999, 0),
        (20, 5, 20),
        ("100 %", 7, 7),
        ("0", 9, 0),
        ("2.5%", 40, 1),
    ],
)
def test_a_budget_is_a_number_or_a_share_of_the_rows(given, rows, allowed):
    settings = DumpSettings(teacher="t", corpus="c", out="o", max_failed=given)
    assert settings.allowed_failures(rows) == allowed
    assert settings.tolerant == (str(given) != "0")


@pytest.mark.parametrize("given", ["many", "-1", "1.5", "101%", "", "1e3"])
def test_other_budgets_are_refused(given):
    with pytest.raises(ConfigError, match="max-failed"):
        DumpSettings(teacher="t", corpus="c", out="o", max_failed=given)


BROKEN = (
    '{"text": "The stone finds the river."}\n{"text": \n{"text": ""}\n{"text": "Two of them."}\n'
)


def test_rows_that_cannot_be_used_are_counted_hashed_and_told_apart(tmp_path):
    (tmp_path / "rows.jsonl").write_text(BROKEN)
    corpus = open_corpus(str(tmp_path / "rows.jsonl"), Columns(), tolerant=True)
    count = count_corpus(corpus)
    assert (count.rows, count.unusable, count.kinds) == (4, 2, {"text": 2})
    assert "line 2" in count.problem and "not JSON" in count.problem
    (tmp_path / "rows.jsonl").write_text(BROKEN.replace('{"text": \n', '{"txt": \n'))
    assert count_corpus(corpus).fingerprint != count.fingerprint
    with pytest.raises(CorpusError, match="line 2"):
        count_corpus(replace(corpus, tolerant=False))


def test_a_corpus_with_more_bad_rows_than_allowed_is_refused_before_the_teacher(tmp_path):
    teacher = tiny_teacher(tmp_path / "teacher")
    (tmp_path / "rows.jsonl").write_text(BROKEN)
    settings = {"teacher": str(teacher), "corpus": str(tmp_path / "rows.jsonl"), "out": "unused"}
    settings["license"] = "unknown"
    with pytest.raises(CorpusError, match=r"2 of 4 rows .* allows 1.*line 2"):
        prepare(DumpSettings(**settings, max_failed="1"), lambda _: None)
    prepared = prepare(DumpSettings(**settings, max_failed="50%"), lambda _: None)
    rendered = prepared.render(list(prepared.rows()))
    assert (len(rendered.samples), len(rendered.failures)) == (2, 2)
    assert all(found.step == "read" for found in rendered.failures)
    write_rows(tmp_path / "rows.jsonl", [{"text": ""}, {"text": None}])
    with pytest.raises(CorpusError, match="none of the corpus's first 2 rows"):
        prepare(DumpSettings(**settings, max_failed="100%"), lambda _: None)
