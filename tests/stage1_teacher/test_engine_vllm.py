"""Real vLLM on the CPU against transformers: the same numbers, row by row, however they came."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError, DamagedError, InputError
from schemas.manifest import Capture
from stage1_teacher import vllm_rows
from stage1_teacher.completions import Prompt, Sampling
from stage1_teacher.engine import EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine
from stage1_teacher.engine_vllm import VllmEngine
from stage1_teacher.samples import Sample
from tests.stage1_teacher.test_engine_transformers import THRESHOLD, TOP_K, make_samples, run
from tests.stage1_teacher.vllm_agreement import (
    GREEDY,
    LAYERS,
    SEED,
    as_sample,
    assert_close,
    prompts,
    vllm,
    written_by,
)
from tests.stage1_teacher.vllm_teachers import vllm_teacher

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tokens end a response: the usual one, and the sixth of some greedy response."""
    folder = vllm_teacher(tmp_path_factory.mktemp("vllm") / "teacher")
    reference = TransformersEngine(EngineSettings(model=folder, dtype="float32"))
    written = written_by(reference, prompts(3), GREEDY)
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "eos_token_id": [2, int(written[0].output_ids[5])]}))
    return folder


@pytest.fixture(scope="module")
def engine(teacher: Path) -> VllmEngine:
    """Steps of 64 tokens: the longer samples are computed in several."""
    return vllm(teacher, batch_tokens=64)


@pytest.fixture(scope="module")
def reference(teacher: Path) -> TransformersEngine:
    return TransformersEngine(
        EngineSettings(model=teacher, dtype="float32", hidden_layers=LAYERS, batch_tokens=300)
    )


def states(bits: np.ndarray) -> np.ndarray:
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("capture", [THRESHOLD, TOP_K], ids=["threshold", "top-k"])
def test_a_text_gives_what_transformers_gives(
    engine: VllmEngine, reference: TransformersEngine, capture: Capture
) -> None:
    samples = make_samples()
    expected = run(reference, samples, capture)
    for found, twin in zip(run(engine, samples, capture), expected, strict=True):
        assert_close(found, twin)


def test_a_shift_by_one_would_be_seen(engine: VllmEngine, reference: TransformersEngine) -> None:
    (sample,) = make_samples((100,))
    (found,) = run(engine, [sample], TOP_K)
    (twin,) = run(reference, [sample], TOP_K)
    for shift in (-1, 1):
        shifted = np.roll(twin.token_logprobs, shift)
        assert np.abs(found.token_logprobs - shifted).mean() > 0.5


def test_vllm_says_the_same_of_itself(engine: VllmEngine) -> None:
    """Its own log-probabilities of the same text, in the same run."""
    from vllm import SamplingParams

    (sample,) = make_samples((60,))
    (found,) = run(engine, [sample], Capture(min_prob=None, top_k=20, tail_samples=0))
    llm = engine._started()._llm
    params = SamplingParams(max_tokens=1, prompt_logprobs=20, detokenize=False)
    prompt = {"prompt_token_ids": sample.input_ids.tolist()}
    (output,) = llm.generate(prompt, params, use_tqdm=False)
    offsets = found.topk.offsets
    for position, theirs in enumerate(output.prompt_logprobs[1:]):
        entries = slice(offsets[position], offsets[position + 1])
        kept = np.log1p(-np.exp(np.float64(found.tail_logmass[position, 0])))
        gaps = found.topk.logits[entries].astype(np.float64)
        logprobs = gaps - np.log(np.exp(gaps).sum()) + kept
        for token, logprob in zip(found.topk.ids[entries].tolist(), logprobs, strict=True):
            assert abs(theirs[token].logprob - logprob) <= 1e-4
        realised = theirs[int(sample.input_ids[position + 1])].logprob
        assert abs(found.token_logprobs[position] - realised) <= 1e-4


def test_the_same_text_twice_differs_in_its_draws_only(engine: VllmEngine) -> None:
    from dataclasses import replace

    (sample,) = make_samples((90,))
    first, second = run(engine, [sample, replace(sample, id="again")], THRESHOLD)
    np.testing.assert_allclose(first.token_logprobs, second.token_logprobs, atol=1e-5)
    np.testing.assert_array_equal(first.topk.ids, second.topk.ids)
    assert not np.array_equal(first.tail.ids, second.tail.ids)


def test_a_text_as_long_as_the_context_fits(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    samples = make_samples((256, 1))
    samples[1] = Sample(
        id="one", source="", input_ids=samples[1].input_ids, segments=(), captured=()
    )
    capture = Capture(hidden_layers=list(LAYERS), hidden_codec="bf16")
    for policy in (THRESHOLD, capture):
        found, nothing = run(engine, samples, policy)
        assert_close(found, run(reference, samples[:1], policy)[0])
        assert len(nothing.max_logit) == 0
    assert nothing.hidden["last"].shape == (1, 64)


def test_hidden_states_are_those_of_transformers(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    """Ids as in FORMAT.md; the last layer's output before the final norm and after it differ."""
    capture = Capture(top_k=4, hidden_layers=list(LAYERS), hidden_codec="bf16")
    samples = make_samples()
    twins = run(reference, samples, capture)
    for sample, found, twin in zip(samples, run(engine, samples, capture), twins, strict=True):
        assert tuple(found.hidden) == LAYERS
        for layer, bits in found.hidden.items():
            assert bits.shape == (len(sample.input_ids), 64)
            np.testing.assert_allclose(
                states(bits), states(twin.hidden[layer]), rtol=2**-7, atol=2e-3
            )
        assert not np.allclose(states(found.hidden["2"]), states(found.hidden["last"]), atol=0.1)


def test_greedy_responses_are_those_of_transformers(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    asked = prompts(6)
    expected = written_by(reference, asked, GREEDY)
    for found, twin in zip(written_by(engine, asked, GREEDY), expected, strict=True):
        np.testing.assert_array_equal(found.output_ids, twin.output_ids)
        assert found.finish_reason == twin.finish_reason
        assert_close(found.signals, twin.signals)


def test_every_end_gives_the_right_rows(
    teacher: Path, engine: VllmEngine, reference: TransformersEngine
) -> None:
    """An end token, another one, a stop text, and the budget; each row predicts its token."""
    asked = prompts(6)
    greedy = written_by(reference, asked, GREEDY)
    assert greedy[0].finish_reason == "stop"
    assert int(greedy[0].output_ids[-1]) == end_ids(teacher)[1]
    stop = letters_of(greedy[1].output_ids[8:])
    sampling = Sampling(temperature=0, stop=(stop,))
    expected = written_by(reference, asked, sampling)
    assert expected[1].finish_reason == "stop"
    reasons = set()
    for prompt, found, twin in zip(
        asked, written_by(engine, asked, sampling), expected, strict=True
    ):
        np.testing.assert_array_equal(found.output_ids, twin.output_ids)
        assert found.finish_reason == twin.finish_reason
        reasons.add((found.finish_reason, len(found.output_ids) == prompt.max_tokens))
        (alone,) = run(reference, [as_sample(prompt, found)], THRESHOLD)
        assert_close(found.signals, alone)
    assert ("length", True) in reasons


def end_ids(teacher: Path) -> list[int]:
    return json.loads((teacher / "generation_config.json").read_text())["eos_token_id"]


def letters_of(ids: np.ndarray) -> str:
    """The text of the first of these tokens that is a letter or a few."""
    from tests.tiny import tiny_tokenizer

    texts = (tiny_tokenizer().decode([int(token)]) for token in ids)
    return next(text for text in texts if text.isascii() and text.isalpha())


def test_samples_of_one_prompt_differ_and_are_captured_right(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    (prompt,) = prompts(1, max_tokens=12)
    asked = [Prompt(id=f"p/s{k}", input_ids=prompt.input_ids, max_tokens=12) for k in range(2)]
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=1)
    found = written_by(engine, asked, sampling)
    assert not np.array_equal(found[0].output_ids, found[1].output_ids)
    for one, written in zip(asked, found, strict=True):
        (alone,) = run(reference, [as_sample(one, written)], THRESHOLD)
        assert_close(written.signals, alone)
    (again,) = written_by(engine, asked[:1], sampling)
    np.testing.assert_array_equal(again.output_ids, found[0].output_ids)


def test_hidden_states_of_a_response_cover_all_of_it(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    capture = Capture(top_k=4, hidden_layers=list(LAYERS), hidden_codec="bf16")
    asked = prompts(3)
    expected = written_by(reference, asked, GREEDY, capture)
    for prompt, found, twin in zip(
        asked, written_by(engine, asked, GREEDY, capture), expected, strict=True
    ):
        length = len(prompt.input_ids) + len(found.output_ids)
        for layer, bits in found.signals.hidden.items():
            assert bits.shape == (length, 64)
            np.testing.assert_allclose(
                states(bits), states(twin.signals.hidden[layer]), rtol=2**-7, atol=2e-3
            )


def test_an_engine_goes_on_after_it_was_left(engine: VllmEngine) -> None:
    samples = make_samples()
    reading = engine.capture(samples, THRESHOLD, SEED)
    next(reading)
    reading.close()
    assert len(run(engine, samples, THRESHOLD)) == len(samples)


def test_what_the_worker_refuses_comes_back_as_our_error(engine: VllmEngine) -> None:
    with pytest.raises(ConfigError, match="top_k 400 is above the teacher's vocabulary of 384"):
        list(engine.capture(make_samples((9,)), Capture(min_prob=None, top_k=400), SEED))
    with pytest.raises(ConfigError, match="started for hidden layers 0, 1, 2, last; asked for"):
        capture = Capture(hidden_layers=["1"], hidden_codec="bf16")
        list(engine.capture(make_samples((9,)), capture, SEED))
    with pytest.raises(InputError, match="vLLM refuses sample 's0'"):
        list(engine.capture(make_samples((300,)), THRESHOLD, SEED))


def test_rows_that_are_missing_are_an_error(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a prefix cache: a chunk begins behind what was seen."""
    step = vllm_rows.RowLedger.step

    def behind(ledger, chunks):
        return step(ledger, [c for c in chunks if c.position])

    monkeypatch.setattr(vllm_rows.RowLedger, "step", behind)
    with pytest.raises(DamagedError, match="were never computed"):
        run(engine, make_samples((100,)), THRESHOLD)


@pytest.fixture
def recomputed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Lengths of what was computed a second time."""
    advance, found = vllm_rows._advance, []

    def counted(track, chunk, rows):
        again = min(track.done - chunk.position, chunk.count)
        found.extend([again] if again > 0 else [])
        advance(track, chunk, rows)

    monkeypatch.setattr(vllm_rows, "_advance", counted)
    return found


def test_preemption_does_not_show(
    teacher: Path, reference: TransformersEngine, recomputed: list[int]
) -> None:
    """Room for two whole sequences: of five some are thrown out and computed anew."""
    small = vllm(teacher, options={"num_gpu_blocks_override": 6}, hidden_layers=())
    small.start()
    small._ends.clear()
    asked = prompts(5, max_tokens=170)
    found = written_by(small, asked, Sampling(temperature=1))
    assert len(recomputed) > 1
    for prompt, written in zip(asked, found, strict=True):
        assert len(written.output_ids) == 170
        (alone,) = run(reference, [as_sample(prompt, written)], THRESHOLD)
        assert_close(written.signals, alone)
