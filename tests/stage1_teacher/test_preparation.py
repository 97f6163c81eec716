import json

import numpy as np
import pytest

from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, ConflictError, CorpusError, FormatError, ModelError
from schemas.progress import ignore
from schemas.verify import verify
from stage1_teacher import preparation
from stage1_teacher.dump_estimate import check
from stage1_teacher.preparation import prepare
from stage1_teacher.run import dump
from stage1_teacher.settings import DumpSettings
from tests.capture_twin import capture_twin
from tests.tiny import tiny_teacher, write_rows

LONG = "The student counts the other student, and then there are two of them. " * 12
ROWS = [
    {"text": "The river shows the garden."},
    {"prompt": "How many stones?", "response": "There are two of them."},
    {"text": LONG, "id": "long", "source": "prose"},
    {
        "messages": [
            {"role": "user", "content": "Count."},
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": "More."},
            {"role": "assistant", "content": "Two."},
        ]
    },
    {"text": "x"},
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return tiny_teacher(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def settings(teacher, tmp_path):
    corpus = write_rows(tmp_path / "corpus.jsonl", ROWS)

    def make(**given):
        fixed = {"teacher": str(teacher), "corpus": str(corpus), "out": str(tmp_path / "out")}
        fixed |= {"dtype": "float32", "license": "unknown"}
        return DumpSettings(**{**fixed, "max_length": 64, **given})

    return make


def test_a_tiny_teacher_end_to_end(settings, teacher, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    estimate = check(settings(unit_size=2))
    made = settings(unit_size=2, temperatures=[2.0], max_logit=True, tail_samples=16)
    summary = dump(made)
    assert verify(str(tmp_path / "out")).ok
    assert (estimate.rows, estimate.sequences, estimate.tokens, estimate.positions) == (
        5,
        summary.rows,
        summary.tokens,
        summary.positions,
    )
    assert (summary.skipped, summary.truncated) == (1, 1), "one token; a conversation that is cut"

    model = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.float32).eval()
    folder = open_dump(tmp_path / "out")
    rows = [row for s in folder.shards for row in folder.shard_file(s).read().to_pylist()]
    samples = prepare(made, ignore)
    rendered = samples.render(list(samples.rows())).samples
    assert [row["id"] for row in rows] == [sample.id for sample in rendered]
    assert sum(row["id"].startswith("long/w") for row in rows) > 2
    for row, sample in zip(rows, rendered, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([row["input_ids"]])).logits[0].numpy()
        twin = capture_twin(sample, logits, folder.manifest.capture, 0)
        np.testing.assert_allclose(row["token_logprobs"], twin.token_logprobs, atol=1e-4)
        np.testing.assert_allclose(row["max_logit"], twin.max_logit, atol=1e-4)
        firsts = [ids[0] for ids in row["topk_ids"]]
        assert np.mean(firsts == twin.topk.ids[twin.topk.offsets[:-1]]) > 0.99


def test_the_manifest_says_what_was_read_and_by_whom(settings):
    made = settings(
        teacher_license="apache-2.0", output_terms="be kind", corpus_license="cc0-1.0", limit=3
    )
    plan = prepare(made, ignore).settings
    assert (plan.teacher.name, plan.teacher.license) == ("tiny", "apache-2.0")
    assert plan.teacher.output_terms == "be kind"
    assert (plan.corpus.name, plan.corpus.rows, plan.corpus.license) == ("corpus", 3, "cc0-1.0")
    assert plan.tokenizer.head_size == 384
    assert plan.limits.max_length == 64
    assert str(made.out) not in plan.model_dump_json()


def test_what_decides_the_numbers_decides_the_plan(settings):
    plan = prepare(settings(), ignore).settings
    for given in (
        {"min_prob": 0.01},
        {"seed": 1},
        {"max_length": 32},
        {"system_prompt": "Be brief."},
        {"capture_roles": ["user"]},
        {"limit": 2},
    ):
        assert prepare(settings(**given), ignore).settings != plan, given
    for given in ({"batch_tokens": 64}, {"device": "cpu"}):
        assert prepare(settings(**given), ignore).settings == plan, given
    texts = prepare(settings(limit=3), ignore).settings
    assert prepare(settings(limit=3, chat_template="none"), ignore).settings != texts


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"teacher": "/nowhere/model"}, ModelError, "/nowhere/model"),
        ({"corpus": "/nowhere/rows.jsonl"}, CorpusError, "/nowhere/rows.jsonl"),
        ({"engine": "transformer"}, ConfigError, "Did you mean transformers?"),
        ({"top_k": 385}, ConfigError, "vocabulary of 384"),
        ({"max_length": 257}, ConfigError, "context of 256"),
        ({"hidden_layers": ["3"]}, ConfigError, "0 (embeddings) to 2, and last"),
        (
            {"hidden_layers": ["last"], "hidden_projection": 32},
            ConfigError,
            "hidden_projection 32 would not make hidden states of width 32 narrower",
        ),
        ({"text_column": "txt"}, CorpusError, "--text-column text"),
        ({"system_prompt": "x", "chat_template": "none"}, ConfigError, "--chat-template"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(settings, tmp_path, given, error, words):
    with pytest.raises(error) as caught:
        check(settings(**given))
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_empty_corpus_and_a_broken_row_are_refused(settings, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(CorpusError, match="empty"):
        check(settings(corpus=str(empty)))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\n{"text": \n')
    with pytest.raises(CorpusError, match=r"broken\.jsonl.*2"):
        check(settings(corpus=str(broken)))


def test_the_place_is_checked_before_the_teacher_is_looked_at(settings, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the teacher was looked at")

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("important")
    monkeypatch.setattr(preparation, "teacher_facts", never)
    with pytest.raises(FormatError, match=r"thesis\.tex"):
        check(settings())


def test_a_dry_run_finds_settings_that_differ_from_the_dump_there(settings, tmp_path):
    dump(settings())
    check(settings())
    with pytest.raises(ConflictError) as caught:
        check(settings(seed=3))
    assert "seed" in str(caught.value)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["limits"]["seed"] == 0
