import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError, ModelError
from schemas.manifest import Capture
from stage1_teacher.capture import Reduction
from stage1_teacher.capture_signals import gather_signals, split_signals
from stage1_teacher.head_rows import BlockRows
from stage1_teacher.output_head import OutputHead
from stage1_teacher.samples import Sample, Signals
from stage1_teacher.tail_offsets import tail_offsets
from tests.capture_agreement import assert_agree, entries
from tests.capture_twin import capture_twin

SMALL = BlockRows(head=8, reduced=3)
POLICIES = {
    "default": Capture(),
    "threshold": Capture(min_prob=1 / 64, top_k=8, tail_samples=16, temperatures=[1.0]),
    "top-k": Capture(min_prob=None, top_k=20, temperatures=[0.5, 1.0, 1.5, 4.0]),
    "one": Capture(min_prob=None, top_k=1, tail_samples=200),
    "no sample": Capture(tail_samples=0, temperatures=[1.0, 2.0, 3.0]),
    "no 1": Capture(temperatures=[2.0]),
}


def make_sample(length: int, vocabulary: int, seed: int = 0) -> Sample:
    ids = np.random.default_rng(seed).integers(0, vocabulary, length).astype(np.int32)
    return Sample(
        id=f"s{seed}", source="x", input_ids=ids, segments=(), captured=((0, length - 1),)
    )


def reduce(
    logits: np.ndarray, sample: Sample, capture: Capture, rows: BlockRows = SMALL, dtype="float32"
) -> Signals:
    """Signals of given logits: the head is the identity, so hidden states are logits."""
    kind = getattr(torch, dtype)
    head = OutputHead(weight_VD=torch.eye(logits.shape[1], dtype=kind))
    at = sample.positions
    parts = Reduction(head, capture, rows)(
        torch.from_numpy(logits[at]).to(kind),
        torch.from_numpy(sample.input_ids[at + 1]).long(),
        torch.from_numpy(tail_offsets(7, sample.id, at)),
    )
    return gather_signals(parts, capture.temperatures)


def constructed(rows: list[list[float]]) -> tuple[np.ndarray, Sample]:
    logits = np.asarray([*rows, rows[-1]], np.float32)
    return logits, make_sample(len(logits), logits.shape[1])


@pytest.mark.parametrize("vocabulary", [5, 64, 129, 1000])
@pytest.mark.parametrize("policy", POLICIES)
def test_equals_the_twin(policy: str, vocabulary: int) -> None:
    capture = POLICIES[policy]
    capture = capture.model_copy(update={"top_k": min(capture.top_k, vocabulary)})
    rng = np.random.default_rng(vocabulary)
    logits = (rng.normal(size=(30, vocabulary)) * 4 + 10).astype(np.float32)
    sample = make_sample(30, vocabulary)
    assert_agree(reduce(logits, sample, capture), capture_twin(sample, logits, capture, 7))


def test_the_comparison_with_the_twin_can_fail() -> None:
    logits = np.random.default_rng(0).normal(size=(30, 64)).astype(np.float32) * 4
    sample = make_sample(30, 64)
    twin = capture_twin(sample, logits, Capture(), 7)
    for wrong in (np.roll(logits, 1, axis=0), np.roll(logits, -1, axis=0), logits * 1.001):
        with pytest.raises(AssertionError):
            assert_agree(reduce(wrong, sample, Capture()), twin)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ties_go_to_the_lowest_id(data: st.DataObject) -> None:
    vocabulary = data.draw(st.integers(2, 300))
    seed = data.draw(st.integers(0, 2**32 - 1))
    levels = data.draw(st.integers(1, 6))
    capture = Capture(
        min_prob=data.draw(st.sampled_from([None, 0.0123, 0.31])),
        top_k=data.draw(st.integers(1, min(vocabulary, 70))),
    )
    logits = np.random.default_rng(seed).integers(0, levels, (6, vocabulary)).astype(np.float32)
    sample = make_sample(6, vocabulary, seed)
    assert_agree(reduce(logits, sample, capture), capture_twin(sample, logits, capture, 7))


def test_probability_exactly_at_the_threshold_is_kept() -> None:
    logits, sample = constructed([[0.0] * 256])
    at, above = 1 / 256, np.nextafter(1 / 256, 1)
    kept = reduce(logits, sample, Capture(min_prob=at, top_k=256)).topk
    assert kept.ids.tolist() == list(range(256))
    assert reduce(logits, sample, Capture(min_prob=above, top_k=256)).topk.ids.tolist() == [0]


def test_cap_on_a_uniform_distribution() -> None:
    logits, sample = constructed([[3.0] * 512])
    signals = reduce(logits, sample, Capture(min_prob=1 / 512, top_k=64))
    assert signals.topk.ids.tolist() == list(range(64))
    np.testing.assert_allclose(signals.tail_logmass, np.log(448 / 512), rtol=1e-6)
    assert len(signals.tail.ids) in (56, 57)
    assert signals.tail.ids.min() >= 64


def test_the_whole_vocabulary_leaves_no_tail() -> None:
    logits, sample = constructed([list(range(20))])
    signals = reduce(logits, sample, Capture(min_prob=None, top_k=20))
    assert signals.topk.ids.tolist() == list(range(19, -1, -1))
    assert not len(signals.tail.ids)
    np.testing.assert_allclose(signals.tail_logmass, np.log(1e-30))


@pytest.mark.parametrize("gap", [5.0, 20.0, 30.0, 60.0])
def test_tiny_tails_are_summed_not_subtracted(gap: float) -> None:
    logits, sample = constructed([[50.0] + [50.0 - gap] * 999])
    capture = Capture(min_prob=None, top_k=1, temperatures=[1.0, 2.0, 3.0])
    found = reduce(logits, sample, capture).tail_logmass[0]
    expected = [np.log(999) - gap / t - np.log1p(999 * np.exp(-gap / t)) for t in (1, 2, 3)]
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_tails_near_one_keep_the_precision_of_the_rest() -> None:
    logits, sample = constructed([[1e-3] + [0.0] * 1_999])
    found = reduce(logits, sample, Capture(min_prob=None, top_k=1)).tail_logmass[0, 0]
    np.testing.assert_allclose(found, np.log1p(-np.exp(1e-3) / (np.exp(1e-3) + 1_999)), rtol=1e-4)


def test_far_apart_logits_neither_overflow_nor_vanish() -> None:
    logits, sample = constructed([[1e4, 1e4 - 1, -1e4, 0.0]])
    signals = reduce(logits, sample, Capture(min_prob=None, top_k=2))
    np.testing.assert_allclose(signals.topk.logits, [0, -1])
    np.testing.assert_allclose(signals.tail_logmass, np.log(1e-30))


def test_bfloat16_logits_are_summed_in_float32() -> None:
    rng = np.random.default_rng(1)
    logits = torch.tensor(rng.normal(size=(40, 700)) * 3).bfloat16().float().numpy()
    sample = make_sample(40, 700)
    for capture in POLICIES.values():
        twin = capture_twin(sample, logits, capture, 7)
        assert_agree(reduce(logits, sample, capture, dtype="bfloat16"), twin)


@pytest.mark.parametrize("rows", [(1, 1), (2, 2), (7, 2), (64, 64), (64, 5)])
def test_blocks_do_not_show(rows: tuple[int, int]) -> None:
    logits = np.random.default_rng(2).normal(size=(30, 201)).astype(np.float32) * 3
    sample = make_sample(30, 201)
    blocks = BlockRows(head=rows[0], reduced=rows[1])
    assert_agree(reduce(logits, sample, Capture(), blocks), reduce(logits, sample, Capture()))
    # 64 entries ask for at least 64 blocks of columns: 101 of two
    assert Reduction(_head(201), Capture(), blocks).buffer_bytes == 4 * 202 * sum(rows)


def test_buffers_are_reused_and_results_are_not_views_of_them() -> None:
    logits = np.random.default_rng(3).normal(size=(9, 50)).astype(np.float32)
    reduction = Reduction(_head(50), Capture(top_k=50), SMALL)
    ids, offsets = torch.zeros(9, dtype=torch.long), torch.zeros(9, dtype=torch.float64)
    first = gather_signals(reduction(torch.from_numpy(logits), ids, offsets), [1.0, 2.0])
    before = first.topk.logits.copy()
    gather_signals(reduction(torch.from_numpy(logits) * 5, ids, offsets), [1.0, 2.0])
    again = gather_signals(reduction(torch.from_numpy(logits), ids, offsets), [1.0, 2.0])
    np.testing.assert_array_equal(first.topk.logits, before)
    np.testing.assert_array_equal(first.topk.logits, again.topk.logits)


def test_signals_are_split_at_the_samples() -> None:
    logits = np.random.default_rng(4).normal(size=(13, 90)).astype(np.float32) * 3
    sample = make_sample(13, 90)
    joined = reduce(logits, sample, Capture())
    parts = list(split_signals(joined, [5, 0, 7]))
    assert [len(part.max_logit) for part in parts] == [5, 0, 7]
    for part, rows in zip(parts, (slice(0, 5), slice(5, 5), slice(5, 12)), strict=True):
        for ours, whole in ((part.topk, joined.topk), (part.tail, joined.tail)):
            pairs = entries(whole)[rows]
            for (ids, gaps), (expected, others) in zip(entries(ours), pairs, strict=False):
                np.testing.assert_array_equal(ids, expected)
                np.testing.assert_array_equal(gaps, others)
        np.testing.assert_array_equal(part.tail_logmass, joined.tail_logmass[rows])
        np.testing.assert_array_equal(part.token_logprobs, joined.token_logprobs[rows])


def test_no_positions_give_empty_signals() -> None:
    signals = gather_signals([], [1.0, 2.0, 3.0])
    assert signals.tail_logmass.shape == (0, 3)
    assert signals.topk.offsets.tolist() == signals.tail.offsets.tolist() == [0]


def test_top_k_above_the_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="top_k 64 is above the teacher's vocabulary of 50"):
        Reduction(_head(50), Capture())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    logits, sample = constructed([[0.0, bad, 1.0]])
    with pytest.raises(ModelError, match="NaN or infinite"):
        reduce(logits, sample, Capture(top_k=2))


def _head(size: int) -> OutputHead:
    return OutputHead(weight_VD=torch.eye(size))
