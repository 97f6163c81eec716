"""Evaluation against the dense twin; on held-out rows only; what is wrong is said."""

import json

import fsspec
import numpy as np
import pytest
import torch
import yaml

from schemas import layout
from schemas.errors import ConfigError, InputError, MismatchError, ModelError
from schemas.manifest import Capture
from schemas.tokenizer_fingerprint import tokenizer_fingerprint
from stage2_student.evaluate import evaluate
from stage2_student.evaluate_settings import EvaluateSettings
from stage2_student.evaluation import Evaluation
from stage2_student.split import document_id, is_held_out
from tests.dumps import Dump, make_settings, write_dump
from tests.stage2_student.evaluation_twin import calibration_error, dense_positions
from tests.tiny import tiny_teacher, tiny_tokenizer, write_rows

WIDTH = 320


def dump_with_tokenizer(path, capture: Capture, **words) -> Dump:
    """A dump for the tiny tokenizer, its head narrower than the students'."""
    text = tiny_tokenizer(376).backend_tokenizer.to_str()
    settings = make_settings(capture, WIDTH)
    changed = {"fingerprint": tokenizer_fingerprint(text)}
    tokenizer = settings.tokenizer.model_copy(update=changed)
    settings = settings.model_copy(update={"tokenizer": tokenizer})
    dump = write_dump(path, settings=settings, vocabulary=WIDTH, **words)
    (path / layout.TOKENIZER / "tokenizer.json").write_text(text)
    return dump


@pytest.fixture(scope="module")
def dump(tmp_path_factory) -> Dump:
    path = tmp_path_factory.mktemp("evaluate") / "dump"
    return dump_with_tokenizer(path, Capture(min_prob=1 / 64, tail_samples=64), count=40)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return tiny_teacher(tmp_path_factory.mktemp("evaluate") / "student", seed=1)


def run(student, dump: Dump, tmp_path, **words) -> Evaluation:
    words = {"rows": "all", "out": str(tmp_path / "out"), "batch_size": 3} | words
    return evaluate(EvaluateSettings(student=str(student), dump=[str(dump.path)], **words))


def test_a_dump_in_a_store_is_kept_in_the_cache(dump: Dump, student, tmp_path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(dump.path), "/evaluated", recursive=True)
    words = {"rows": "all", "batch_size": 3, "dump": ["memory://evaluated"]}
    words |= {"out": str(tmp_path / "stored"), "cache": str(tmp_path / "cache")}
    stored = evaluate(EvaluateSettings(student=str(student), **words))
    assert stored.overall == run(student, dump, tmp_path).overall
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*")) > 10_000


def model_of(student):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()


def mean(positions, name: str) -> float:
    return float(np.mean([getattr(position, name) for position in positions]))


def test_every_figure_is_the_dense_one(dump: Dump, student, tmp_path) -> None:
    found = run(student, dump, tmp_path)
    whole = dense_positions(dump, model_of(student), set(dump.samples))
    for name, metrics in {"": found.overall, **found.slices}.items():
        positions = [p for p in whole if name in ("", p.source)]
        assert metrics.positions == len(positions)
        assert metrics.documents == len({p.id for p in positions})
        for mine in ("cross_entropy", "teacher_cross_entropy"):
            assert getattr(metrics, mine) == pytest.approx(mean(positions, mine), abs=1e-4)
        assert metrics.perplexity == pytest.approx(np.exp(metrics.cross_entropy))
        assert metrics.agreement == mean(positions, "agrees")
        confidences = [p.confidence for p in positions]
        error = calibration_error(confidences, [p.correct for p in positions])
        assert metrics.ece == pytest.approx(error, abs=1e-4)
        teacher = [p.teacher_confidence for p in positions]
        error = calibration_error(teacher, [p.teacher_correct for p in positions])
        assert metrics.teacher_ece == pytest.approx(error, abs=0.01)  # rounded by the codec
        exact = mean(positions, "kl")
        assert metrics.kl_bucket < exact
        assert metrics.kl == pytest.approx(exact, rel=0.02)
        assert abs(metrics.kl - exact) < abs(metrics.kl_bucket - exact)
        assert metrics.kl_low < metrics.kl < metrics.kl_high
    assert set(found.slices) == {"synthetic/a", "synthetic/b"}


def test_the_whole_vocabulary_gives_the_exact_kl(student, tmp_path) -> None:
    capture = Capture(min_prob=None, top_k=WIDTH, tail_samples=0)
    dump = dump_with_tokenizer(tmp_path / "dump", capture, count=6)
    found = run(student, dump, tmp_path)
    exact = mean(dense_positions(dump, model_of(student), set(dump.samples)), "kl")
    assert found.kl_estimator == "bucket"
    assert found.overall.kl == pytest.approx(exact, rel=1e-3)


def test_the_file_is_the_result_and_the_report_reads_it(dump: Dump, student, tmp_path) -> None:
    from pipeline.report_data import Evaluation as Read

    found = run(student, dump, tmp_path)
    text = (tmp_path / "out" / "evaluation.json").read_text()
    assert Evaluation.model_validate_json(text) == found
    assert Read.model_validate_json(text).overall.kl == found.overall.kl
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]
    assert str(tmp_path) not in text


def test_size_speed_and_teacher(dump: Dump, student, tmp_path) -> None:
    found = run(student, dump, tmp_path)
    model = model_of(student)
    assert found.student.parameters == sum(p.numel() for p in model.parameters())
    assert found.student.bytes == (student / "model.safetensors").stat().st_size
    assert found.student.architecture == "LlamaForCausalLM"
    assert found.teacher.parameters == dump.manifest.teacher.parameters
    assert found.speed.tokens_per_second > 0
    assert found.speed.generated_per_second > 0
    assert found.speed.memory_bytes > 1 << 20


def test_calibration_bins_add_up(dump: Dump, student, tmp_path) -> None:
    found = run(student, dump, tmp_path)
    for bins in (found.calibration, found.teacher_calibration):
        assert len(bins) == 15
        assert sum(own.count for own in bins) == found.overall.positions
    gaps = [abs(own.accuracy - own.confidence) * own.count for own in found.calibration]
    assert sum(gaps) / found.overall.positions == pytest.approx(found.overall.ece)


def test_disagreements_are_the_worst_positions(dump: Dump, student, tmp_path) -> None:
    found = run(student, dump, tmp_path, disagreements=5).disagreements
    kls = [own.kl for own in found]
    assert kls == sorted(kls, reverse=True)
    assert len({own.id for own in found}) == 5
    tokenizer = tiny_tokenizer(376)
    model = model_of(student)
    for own in found:
        ids = dump.samples[own.id].input_ids.tolist()
        assert own.context == tokenizer.decode(ids[: own.position + 1])
        logits = model(input_ids=torch.tensor([ids])).logits[0, own.position, :WIDTH]
        best = logits.softmax(0).topk(5)
        assert [g.probability for g in own.student] == pytest.approx(best.values.tolist(), rel=1e-3)
        dense = torch.tensor(dump.logits[own.id][own.position]).double().softmax(0)
        expected = dense.topk(len(own.teacher)).values.tolist()
        assert [g.probability for g in own.teacher] == pytest.approx(expected, rel=0.05)
    assert run(student, dump, tmp_path, disagreements=0).disagreements == []


def test_the_worst_is_really_the_worst(dump: Dump, student, tmp_path) -> None:
    """With batches of any size: the heap must not forget."""
    one = run(student, dump, tmp_path, disagreements=3, batch_size=1).disagreements
    many = run(student, dump, tmp_path, disagreements=40, batch_size=8).disagreements
    assert [own.id for own in one] == [own.id for own in many][:3]
    assert len(many) == 40


def trained_folder(student, dump: Dump, holdout: float) -> None:
    (student / "run.yaml").write_text(yaml.safe_dump({"holdout": holdout}))
    (student / "dump.json").write_text(json.dumps([{"identity": dump.manifest.identity}]))


def test_held_out_rows_come_from_the_students_own_folder(dump: Dump, tmp_path) -> None:
    student = tiny_teacher(tmp_path / "student", seed=1)
    trained_folder(student, dump, 0.4)
    found = run(student, dump, tmp_path, rows="held-out")
    held = {name for name in dump.samples if is_held_out(name, 0.4)}
    expected = dense_positions(dump, model_of(student), held)
    assert found.holdout == 0.4
    assert found.overall.documents == len({p.id for p in expected})
    assert found.overall.cross_entropy == pytest.approx(mean(expected, "cross_entropy"), abs=1e-4)


def test_the_result_goes_into_the_students_folder(dump: Dump, tmp_path) -> None:
    student = tiny_teacher(tmp_path / "student", seed=1)
    run(student, dump, tmp_path, rows="held-out", holdout=0.5, out=None)
    assert (student / "evaluation.json").is_file()


def test_unknown_or_missing_held_out_rows_are_refused(dump: Dump, student, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"--holdout SHARE .*--rows all"):
        run(student, dump, tmp_path, rows="held-out")
    own = tiny_teacher(tmp_path / "student", seed=1)
    trained_folder(own, dump, 0.0)
    with pytest.raises(ConfigError, match="every row of this dump"):
        run(own, dump, tmp_path, rows="held-out")


def test_training_rows_are_warned_about(dump: Dump, tmp_path, caplog) -> None:
    student = tiny_teacher(tmp_path / "student", seed=1)
    trained_folder(student, dump, 0.4)
    run(student, dump, tmp_path, rows="all")
    assert "better than it is" in caplog.text


def test_another_tokenizer_is_refused_with_both_fingerprints(dump: Dump, tmp_path) -> None:
    other = tiny_teacher(tmp_path / "other", vocabulary=320)
    own = dump.manifest.tokenizer.fingerprint
    with pytest.raises(MismatchError, match=rf"(?s)sha256:.*{own}"):
        run(other, dump, tmp_path)
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_a_student_that_diverged_is_refused(dump: Dump, tmp_path) -> None:
    student = tiny_teacher(tmp_path / "broken", seed=1)
    model = model_of(student)
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("inf")
    model.save_pretrained(student)
    with pytest.raises(ModelError, match="not finite"):
        run(student, dump, tmp_path)


def test_numbers_that_overflow_on_the_way_name_the_samples(
    dump: Dump, student, tmp_path, monkeypatch
) -> None:
    broken = lambda model, ids, positions: torch.full((*ids.shape, 32), float("nan"))  # noqa: E731
    monkeypatch.setattr("stage2_student.measured_student.hidden_states", broken)
    with pytest.raises(ModelError, match=r"student gives numbers that are not finite, on s0-"):
        run(student, dump, tmp_path)


def test_a_place_for_the_result_is_needed(dump: Dump, tmp_path) -> None:
    with pytest.raises(InputError, match="--out"):
        run(tmp_path / "nothing", dump, tmp_path, out=None)


def test_an_impossible_device_is_refused(dump: Dump, student, tmp_path) -> None:
    with pytest.raises(ConfigError, match="--device"):
        run(student, dump, tmp_path, device="quantum")


@pytest.mark.parametrize("architecture", ["gemma2", "granite"])
def test_scaled_and_capped_logits(dump: Dump, tmp_path, architecture: str) -> None:
    student = tiny_teacher(tmp_path / "student", architecture=architecture, seed=1)
    found = run(student, dump, tmp_path)
    expected = dense_positions(dump, model_of(student), set(dump.samples))
    assert found.overall.cross_entropy == pytest.approx(mean(expected, "cross_entropy"), abs=1e-3)
    assert found.overall.agreement == pytest.approx(mean(expected, "agrees"), abs=2e-3)


def test_a_teacher_is_its_own_best_student(tmp_path) -> None:
    """What is left is the codec's rounding: stage one, the contract and stage two agree."""
    from stage1_teacher.run import dump as write
    from stage1_teacher.settings import DumpSettings

    teacher = tiny_teacher(tmp_path / "teacher", seed=3)
    rows = [{"text": f"The river counts {n} stones, and then there are {n}."} for n in range(12)]
    corpus = write_rows(tmp_path / "corpus.jsonl", rows)
    out = tmp_path / "dump"
    words = {"dtype": "float32", "license": "unknown", "device": "cpu"}
    write(DumpSettings(teacher=str(teacher), corpus=str(corpus), out=str(out), **words))
    settings = EvaluateSettings(student=str(teacher), dump=[str(out)], rows="all", device="cpu")
    own = evaluate(settings).overall
    other = tiny_teacher(tmp_path / "other", seed=4)
    far = evaluate(settings.model_copy(update={"student": str(other)})).overall
    assert own.agreement > 0.98  # rounding can swap two entries that are almost equal
    assert abs(own.kl) < 2e-3
    assert own.cross_entropy == pytest.approx(own.teacher_cross_entropy, abs=1e-4)
    assert far.kl > 100 * abs(own.kl)


def test_rows_are_chosen_as_in_training(dump: Dump, student, tmp_path) -> None:
    everything = run(student, dump, tmp_path)
    source = sorted(everything.slices)[0]
    one = run(student, dump, tmp_path, sources=[source], min_tokens=5)
    assert list(one.slices) == [source] and everything.only == []
    assert one.only == [f"--sources {source}", "--min-tokens 5"]
    long = {s.id for s in dump.samples.values() if len(s.input_ids) >= 5 and s.source == source}
    assert one.overall.documents == len({document_id(name) for name in long})
    with pytest.raises(InputError, match="the dumps hold"):
        run(student, dump, tmp_path, sources=["nowhere"])
    with pytest.raises(ConfigError, match="holds no verdicts"):
        run(student, dump, tmp_path, verdicts=["correct"])
