from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import ConfigError
from schemas.manifest import Capture
from stage1_teacher.engine import ENGINES, EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine, batches
from stage1_teacher.samples import Sample, Signals
from tests.capture_agreement import assert_agree, entries
from tests.capture_twin import capture_twin
from tests.tiny import tiny_teacher

VOCABULARY = 384
LENGTHS = (40, 13, 2, 77, 33, 33, 5)
THRESHOLD = Capture()
TOP_K = Capture(min_prob=None, top_k=16, tail_samples=20, temperatures=[1.0, 1.5, 4.0])
ARCHITECTURES = ("llama", "gemma2", "granite", "cohere", "gpt2", "phi")


def make_samples(lengths=LENGTHS, vocabulary: int = VOCABULARY) -> list[Sample]:
    """Every other sample is captured in parts: a middle and an end."""
    rng = np.random.default_rng(0)
    samples = []
    for index, length in enumerate(lengths):
        spans = ((0, length - 1),)
        if index % 2 and length > 12:
            spans = ((3, 7), (9, length - 1))
        ids = rng.integers(0, vocabulary, length).astype(np.int32)
        samples.append(
            Sample(id=f"s{index}", source="x", input_ids=ids, segments=(), captured=spans)
        )
    return samples


def make_teacher(folder: Path, architecture: str) -> Path:
    """GPT-2: learned positions and other names; Phi: a bias in the head."""
    if architecture not in ("gpt2", "phi"):
        return tiny_teacher(folder, architecture=architecture, vocabulary=VOCABULARY)
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    kind = {"gpt2": transformers.GPT2Config, "phi": transformers.PhiConfig}[architecture]
    torch.manual_seed(0)
    extra = {"intermediate_size": 64} if architecture == "phi" else {}
    config = kind(vocab_size=VOCABULARY, initializer_range=0.6, **shape, **extra)
    model = transformers.AutoModelForCausalLM.from_config(config)
    if architecture == "phi":
        torch.nn.init.normal_(model.lm_head.bias)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=ARCHITECTURES)
def teacher(request, tmp_path_factory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teachers") / request.param, request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teachers") / "llama", "llama")


def engine(folder: Path, **settings) -> TransformersEngine:
    settings = {"dtype": "float32", "device": "cpu", "batch_tokens": 120, **settings}
    return ENGINES["transformers"](EngineSettings(model=folder, **settings))


def run(engine: TransformersEngine, samples: list[Sample], capture: Capture) -> list[Signals]:
    found = dict(engine.capture(samples, capture, seed=5))
    assert sorted(found) == list(range(len(samples)))
    return [found[index] for index in range(len(samples))]


def dense_logits(folder: Path, sample: Sample) -> np.ndarray:
    """[L, V] transformers' own logits of one sequence alone."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        ids = torch.tensor(sample.input_ids[None].astype(np.int64))
        return model(input_ids=ids).logits[0].numpy()


@pytest.mark.parametrize("capture", [THRESHOLD, TOP_K], ids=["threshold", "top-k"])
def test_signals_are_of_the_models_own_logits(teacher: Path, capture: Capture) -> None:
    samples = make_samples()
    for sample, found in zip(samples, run(engine(teacher), samples, capture), strict=True):
        twin = capture_twin(sample, dense_logits(teacher, sample), capture, 5)
        assert_agree(found, twin, atol=2e-4, same=0.97)


def test_a_shift_by_one_would_be_seen(llama: Path) -> None:
    (sample,) = make_samples((60,))
    (found,) = run(engine(llama), [sample], THRESHOLD)
    logits = dense_logits(llama, sample)
    for shift in (-1, 1):
        twin = capture_twin(sample, np.roll(logits, shift, axis=0), THRESHOLD, 5)
        assert np.abs(found.token_logprobs - twin.token_logprobs).mean() > 0.5
        with pytest.raises(AssertionError):
            assert_agree(found, twin, atol=2e-4, same=0.97)


def test_the_realised_token_is_the_next_one(llama: Path) -> None:
    (sample,) = make_samples((60,))
    capture = Capture(min_prob=None, top_k=VOCABULARY, tail_samples=0)
    (found,) = run(engine(llama), [sample], capture)
    for position, (ids, gaps) in enumerate(entries(found.topk)):
        logprobs = gaps - np.log(np.exp(gaps.astype(np.float64)).sum())
        (rank,) = np.flatnonzero(ids == sample.input_ids[position + 1])
        np.testing.assert_allclose(found.token_logprobs[position], logprobs[rank], atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 80, 100_000])
def test_batching_does_not_show(teacher: Path, batch_tokens: int) -> None:
    samples = make_samples()
    reference = run(engine(teacher), samples, THRESHOLD)
    others = run(engine(teacher, batch_tokens=batch_tokens), samples, THRESHOLD)
    for found, expected in zip(others, reference, strict=True):
        assert_agree(found, expected, atol=2e-4, same=0.97)


def test_padding_does_not_leak(llama: Path) -> None:
    """A short sequence beside a long one is as it is alone, though its padding is not masked."""
    long, short = make_samples((90, 11))
    alone = run(engine(llama), [short], TOP_K)[0]
    together = run(engine(llama, batch_tokens=1000), [long, short], TOP_K)[1]
    assert_agree(together, alone, atol=2e-5)


def test_only_captured_positions_are_given(llama: Path) -> None:
    samples = make_samples()
    for sample, found in zip(samples, run(engine(llama), samples, TOP_K), strict=True):
        count = len(sample.positions)
        assert len(found.max_logit) == len(found.tail_logmass) == count
        assert len(found.topk.offsets) == len(found.tail.offsets) == count + 1
        assert len(found.topk.ids) == 16 * count


def test_bfloat16_is_the_model_in_bfloat16(llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    (sample,) = make_samples((60,))
    (found,) = run(engine(llama, dtype="bfloat16"), [sample], THRESHOLD)
    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16)
    with torch.inference_mode():
        ids = torch.tensor(sample.input_ids[None].astype(np.int64))
        logits = model(input_ids=ids).logits[0].float().numpy()
    twin = capture_twin(sample, logits, THRESHOLD, 5)
    assert np.abs(found.token_logprobs - twin.token_logprobs).mean() < 0.05
    # bfloat16 logits, and yet sums that are not rounded to it
    totals = found.max_logit - found.topk.logits[found.topk.offsets[:-1]]
    np.testing.assert_array_equal(totals, torch.tensor(totals).bfloat16().float().numpy())
    assert len(np.unique(found.tail_logmass[:, 0])) == len(sample.positions)


def test_hidden_states_of_every_position(teacher: Path) -> None:
    from transformers import AutoModelForCausalLM

    capture = Capture(top_k=4, hidden_layers=["0", "1", "2", "last"], hidden_codec="bf16")
    samples = make_samples((9, 30))
    found = run(engine(teacher), samples, capture)
    model = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.float32)
    for sample, signals in zip(samples, found, strict=True):
        with torch.inference_mode():
            ids = torch.tensor(sample.input_ids[None].astype(np.int64))
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        assert list(signals.hidden) == capture.hidden_layers
        for layer, theirs in (("0", states[0]), ("1", states[1]), ("last", states[2])):
            ours = (signals.hidden[layer].astype(np.uint32) << 16).view(np.float32)
            assert ours.shape == theirs[0].shape == (len(sample.input_ids), 32)
            np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=2**-7, atol=1e-3)
        assert signals.hidden["2"].shape == (len(sample.input_ids), 32)


def test_storing_hidden_states_changes_no_signal(llama: Path) -> None:
    samples = make_samples()
    plain = run(engine(llama), samples, THRESHOLD)
    capture = THRESHOLD.model_copy(update={"hidden_layers": ["1", "last"]})
    for found, expected in zip(run(engine(llama), samples, capture), plain, strict=True):
        assert_agree(found, expected, atol=0, same=1.0)


def test_a_layer_beyond_the_teacher_is_refused(llama: Path) -> None:
    capture = Capture(hidden_layers=["3"], hidden_codec="bf16")
    with pytest.raises(ConfigError, match=r"hidden layer 3 .* 0 \(embeddings\) to 2, and last"):
        run(engine(llama), make_samples((9,)), capture)


def test_making_an_engine_loads_nothing() -> None:
    found = engine(Path("/nowhere")).info()
    assert found.name == "transformers"
    assert found.version.count(".") == 2


def test_batches_hold_the_token_budget() -> None:
    lengths = [5, 100, 7, 7, 30, 1]
    found = list(batches(lengths, 32))
    assert sorted(index for batch in found for index in batch) == list(range(6))
    assert found == [[1], [4], [2, 3, 0, 5]]


@pytest.mark.slow
def test_the_real_teacher_agrees_with_itself(real_teacher: Path) -> None:
    samples = make_samples((48, 20), vocabulary=49_152)
    for capture in (THRESHOLD, TOP_K):
        for sample, found in zip(samples, run(engine(real_teacher), samples, capture), strict=True):
            twin = capture_twin(sample, dense_logits(real_teacher, sample), capture, 5)
            assert_agree(found, twin, atol=1e-3, same=0.85)
