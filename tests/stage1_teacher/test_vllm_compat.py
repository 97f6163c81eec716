"""The public path against the transformers engine, both in fp32."""

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from schemas.errors import ConfigError, DamagedError
from schemas.manifest import Capture
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.engine import EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine
from stage1_teacher.samples import Sample, Segment, Signals
from stage1_teacher.vllm_compat import CAP, CompatEngine, _rows
from tests.stage1_teacher.vllm_teachers import OPTIONS, vllm_teacher

FIXED = Capture(min_prob=None, top_k=24, tail_samples=0, temperatures=[1.0])
THRESHOLD = Capture(min_prob=1 / 64, top_k=16, tail_samples=0, temperatures=[1.0])
LENGTHS = (256, 2, 41, 90)


def make_sample(number: int, length: int, captured: tuple[tuple[int, int], ...]) -> Sample:
    ids = np.random.default_rng(number).integers(4, 376, length).astype(np.int32)
    return Sample(
        id=f"s{number}",
        source="test",
        input_ids=ids,
        segments=(Segment(kind="text", start=0, end=length),),
        captured=captured,
    )


SAMPLES = [
    *(make_sample(i, length, ((0, length - 1),)) for i, length in enumerate(LENGTHS)),
    make_sample(9, 30, ((3, 7), (20, 29))),
    make_sample(10, 30, ()),
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vllm_teacher(tmp_path_factory.mktemp("compat") / "teacher")


@pytest.fixture(scope="module")
def engine(teacher: Path) -> CompatEngine:
    """One vLLM for this file; steps of 64 tokens cut the longest sample in four."""
    options = {**OPTIONS, "max_num_batched_tokens": 64}
    settings = EngineSettings(model=teacher, dtype="float32", max_length=256, options=options)
    return CompatEngine(settings)


def signals_of(engine, samples: Sequence[Sample], capture: Capture) -> list[Signals]:
    return [found for _, found in sorted(engine.capture(samples, capture, 0), key=lambda x: x[0])]


@pytest.mark.parametrize("capture", [FIXED, THRESHOLD], ids=["fixed", "threshold"])
def test_the_same_as_transformers(capture: Capture, engine: CompatEngine, teacher: Path) -> None:
    other = TransformersEngine(EngineSettings(model=teacher, dtype="float32"))
    for one, two in zip(
        signals_of(engine, SAMPLES, capture), signals_of(other, SAMPLES, capture), strict=True
    ):
        np.testing.assert_array_equal(one.topk.offsets, two.topk.offsets)
        assert (one.topk.ids == two.topk.ids).mean() >= 0.999 if len(one.topk.ids) else True
        np.testing.assert_allclose(one.topk.logits, two.topk.logits, atol=5e-4)
        np.testing.assert_allclose(one.tail_logmass, two.tail_logmass, atol=5e-4)
        np.testing.assert_allclose(one.token_logprobs, two.token_logprobs, atol=5e-4)
        assert len(one.tail.ids) == len(two.tail.ids) == 0
        assert one.tail_logmass.shape == two.tail_logmass.shape
        assert one.max_logit.shape == two.max_logit.shape


def test_a_shift_by_one_would_be_seen(engine: CompatEngine, teacher: Path) -> None:
    other = TransformersEngine(EngineSettings(model=teacher, dtype="float32"))
    (one,), (two,) = (signals_of(e, SAMPLES[:1], FIXED) for e in (engine, other))
    shifted = np.abs(one.token_logprobs[1:] - two.token_logprobs[:-1])
    assert shifted.mean() > 0.5


def prompts(count: int, length: int = 9, budget: int = 12) -> list[Prompt]:
    ids = SAMPLES[2].input_ids[:length]
    return [Prompt(id=f"p/s{i}", input_ids=ids, max_tokens=budget) for i in range(count)]


def written(engine, asked: list[Prompt], sampling: Sampling) -> list[Completion]:
    found = dict(engine.generate(asked, sampling, FIXED, 0))
    return [found[index] for index in range(len(asked))]


def test_generated_positions_are_those_of_the_text_read_again(engine: CompatEngine) -> None:
    asked = prompts(3)
    found = written(engine, asked, Sampling(temperature=1.0, seed=5))
    assert len({tuple(one.output_ids.tolist()) for one in found}) > 1
    for prompt, one in zip(asked, found, strict=True):
        ids = np.concatenate([prompt.input_ids, one.output_ids])
        start = len(prompt.input_ids) - 1
        again = Sample(
            id="x",
            source="x",
            input_ids=ids,
            segments=(),
            captured=((start, len(ids) - 1),),
        )
        (read,) = signals_of(engine, [again], FIXED)
        np.testing.assert_allclose(one.signals.token_logprobs, read.token_logprobs, atol=1e-3)
        np.testing.assert_allclose(one.signals.tail_logmass, read.tail_logmass, atol=1e-3)
        assert (one.finish_reason == "length") == (
            len(one.output_ids) == 12 and one.output_ids[-1] != 2
        )


def test_a_response_depends_on_its_own_seed_only(engine: CompatEngine) -> None:
    sampling = Sampling(temperature=1.0, seed=5)
    together = written(engine, prompts(3), sampling)
    (alone,) = written(engine, prompts(3)[1:2], sampling)
    np.testing.assert_array_equal(alone.output_ids, together[1].output_ids)


def test_a_stop_text_ends_a_response_and_stays_in_it(engine: CompatEngine, teacher: Path) -> None:
    from stage1_teacher.tokenizer import load_tokenizer

    (free,) = written(engine, prompts(1), Sampling(temperature=0))
    texts = [load_tokenizer(teacher).decode([token]) for token in free.output_ids.tolist()]
    at = next(i for i, text in enumerate(texts) if text.isascii() and text.strip())
    (cut,) = written(engine, prompts(1), Sampling(temperature=0, stop=(texts[at].strip(),)))
    assert cut.finish_reason == "stop"
    np.testing.assert_array_equal(cut.output_ids, free.output_ids[: at + 1])
    assert len(cut.signals.token_logprobs) == at + 1


def test_what_it_lacks_is_left_out_with_a_warning(engine: CompatEngine, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        narrowed = engine.supported(Capture(optional_columns=["max_logit", "prompt"]))
    assert narrowed == Capture(temperatures=[1.0], tail_samples=0, optional_columns=["prompt"])
    assert "no tail sample" in caplog.text
    caplog.clear()
    assert engine.supported(narrowed) == narrowed
    assert not caplog.records


def test_what_it_cannot_do_without_is_refused(engine: CompatEngine) -> None:
    with pytest.raises(ConfigError, match=r"no hidden states.*--engine transformers"):
        engine.supported(Capture(hidden_layers=["1", "last"]))
    with pytest.raises(ConfigError, match=f"top_k {CAP + 1} is above.*{CAP}"):
        engine.supported(Capture(top_k=CAP + 1))
    with pytest.raises(ConfigError, match="above"):
        list(engine.capture(SAMPLES, Capture(top_k=CAP + 1), 0))


def test_an_answer_of_another_form_is_refused() -> None:
    flat = SimpleNamespace(
        start_indices=[0, 0, 3],
        end_indices=[0, 3, 5],
        token_ids=[1, 2, 3, 4, 5],
        logprobs=[-1.0] * 5,
    )
    with pytest.raises(DamagedError, match="instead of 3"):
        _rows(flat, Capture(top_k=2))


def test_ties_go_to_the_lowest_id() -> None:
    flat = SimpleNamespace(
        start_indices=[0], end_indices=[5], token_ids=[7, 9, 5, 4, 8], logprobs=[-3, -1, -2, -1, -2]
    )
    np.testing.assert_array_equal(_rows(flat, Capture(top_k=4)).ids_RK, [[4, 9, 5, 8]])
