"""A head cut over ranks keeps and draws exactly what the whole head does."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from schemas.errors import ConfigError, ModelError
from schemas.manifest import Capture
from stage1_teacher.capture import Reduction
from stage1_teacher.capture_signals import gather_signals
from stage1_teacher.head_rows import BlockRows
from stage1_teacher.output_head import OutputHead
from stage1_teacher.samples import Signals
from stage1_teacher.sharded_reduction import Shard, ShardedReduction

POLICIES = {
    "default": Capture(),
    "fixed k": Capture(min_prob=None, top_k=32, temperatures=[1.0]),
    "no tail sample": Capture(tail_samples=0),
    "one entry": Capture(top_k=1, tail_samples=8, temperatures=[1.0, 1.5, 2.0, 4.0]),
    "more than a rank has": Capture(min_prob=None, top_k=200, tail_samples=500),
}
ROWS = BlockRows(head=16, reduced=5)


@dataclass
class Ranks:
    """All-gathers of ranks that are threads."""

    count: int

    def __post_init__(self) -> None:
        self._barrier = threading.Barrier(self.count, timeout=60)
        self._given: list[Tensor] = [torch.empty(0)] * self.count
        self.sent = 0

    def all_gather(self, rank: int) -> Callable[[Tensor], Tensor]:
        def gather(given: Tensor) -> Tensor:
            assert given.dtype == torch.float32
            self._given[rank] = given.clone()
            self._barrier.wait()
            found = torch.stack(self._given)
            self._barrier.wait()
            self.sent += given.numel() if rank == 0 else 0
            return found

        return gather

    def run(self, one: Callable[[int], object]) -> list[object]:
        """What `one` gives in every rank; the first error of any."""
        found: list[object] = [None] * self.count

        def work(rank: int) -> None:
            try:
                found[rank] = one(rank)
            except Exception as error:
                found[rank] = error
                self._barrier.abort()

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        errors = [e for e in found if isinstance(e, Exception)]
        for error in sorted(errors, key=lambda e: isinstance(e, threading.BrokenBarrierError)):
            raise error
        return found


@dataclass
class Case:
    hidden: Tensor
    next_ids: Tensor
    offsets: Tensor

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.hidden, self.next_ids, self.offsets


def make_head(vocabulary: int, dtype=torch.float32, **transforms) -> OutputHead:
    generator = torch.Generator().manual_seed(vocabulary)
    weight = torch.randn(vocabulary, 24, generator=generator)
    bias = torch.randn(vocabulary, generator=generator)
    return OutputHead(weight_VD=weight.to(dtype), bias_V=bias.to(dtype), **transforms)


def make_case(vocabulary: int, rows: int = 37, scale: float = 0.7, dtype=torch.float32) -> Case:
    rng = np.random.default_rng(vocabulary)
    hidden = torch.tensor(rng.normal(size=(rows, 24)) * scale, dtype=dtype)
    hidden[0] *= 6  # one nearly certain row, and one flat one
    hidden[1] *= 0.01
    return Case(
        hidden=hidden,
        next_ids=torch.tensor(rng.integers(0, vocabulary, rows)),
        offsets=torch.tensor(rng.random(rows)),
    )


def whole(head: OutputHead, capture: Capture, case: Case) -> Signals:
    reduction = Reduction(head, capture, ROWS)
    return gather_signals(reduction(*case.arguments), capture.temperatures)


def slices(head: OutputHead, count: int) -> list[tuple[int, OutputHead]]:
    """As vLLM cuts a head: padded to a multiple of 64, equal parts, padding left out again."""
    padded = -(-head.size // (64 * count)) * 64 * count
    width = padded // count
    assert head.bias_V is not None
    return [
        (
            start,
            replace(
                head,
                weight_VD=head.weight_VD[start : start + width],
                bias_V=head.bias_V[start : start + width],
            ),
        )
        for start in range(0, padded, width)
    ]


def sharded(head: OutputHead, capture: Capture, case: Case, ranks: Ranks) -> list[Signals]:
    parts = slices(head, ranks.count)

    def one(rank: int) -> Signals:
        start, own = parts[rank]
        shard = Shard(
            rank=rank, start=start, vocabulary=head.size, all_gather=ranks.all_gather(rank)
        )
        reduction = ShardedReduction(own, shard, capture, ROWS)
        return gather_signals(reduction(*case.arguments), capture.temperatures)

    return ranks.run(one)  # type: ignore[return-value]


def agree(found: Signals, expected: Signals) -> None:
    for name in ("topk", "tail"):
        one, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(one.offsets, other.offsets)
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-5)
    np.testing.assert_allclose(found.tail_logmass, expected.tail_logmass, atol=2e-5)
    np.testing.assert_allclose(found.token_logprobs, expected.token_logprobs, atol=1e-5)
    np.testing.assert_allclose(found.max_logit, expected.max_logit, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("policy", POLICIES)
def test_like_the_whole_head(policy: str, count: int) -> None:
    vocabulary = 1000  # the last rank is padded: 2·512, 3·384, 4·256 columns
    head, case = make_head(vocabulary), make_case(vocabulary)
    expected = whole(head, POLICIES[policy], case)
    found = sharded(head, POLICIES[policy], case, Ranks(count))
    assert len(expected.topk.ids) > 37 or policy == "one entry"
    assert len(expected.tail.ids) > 0 or policy == "no tail sample"
    agree(found[0], expected)
    for other in found[1:]:
        np.testing.assert_array_equal(other.topk.ids, found[0].topk.ids)
        np.testing.assert_array_equal(other.tail.ids, found[0].tail.ids)


def test_ties_across_ranks_go_to_the_lowest_id() -> None:
    vocabulary, capture = 768, Capture(min_prob=None, top_k=10)
    head = make_head(vocabulary)
    weight = head.weight_VD.clone()
    weight[256:512], weight[512:] = weight[:256], weight[:256]  # every logit three times
    head = replace(head, weight_VD=weight, bias_V=torch.zeros(vocabulary))
    case = make_case(vocabulary)
    expected = whole(head, capture, case)
    triples = expected.topk.ids.reshape(-1, 10)[:, :9].reshape(-1, 3)
    np.testing.assert_array_equal(np.diff(triples, axis=1), 256)
    agree(sharded(head, capture, case, Ranks(3))[0], expected)


@pytest.mark.parametrize(
    "transforms", [{"softcap": 3.0}, {"scale": 0.3}, {"softcap": 5.0, "scale": 2.0}]
)
def test_transformed_logits(transforms: dict[str, float]) -> None:
    head, case = make_head(640, **transforms), make_case(640)
    agree(sharded(head, Capture(), case, Ranks(2))[0], whole(head, Capture(), case))


def test_rounded_logits_that_tie_everywhere() -> None:
    head = make_head(2048, torch.bfloat16)
    case = make_case(2048, dtype=torch.bfloat16)
    agree(sharded(head, Capture(), case, Ranks(4))[0], whole(head, Capture(), case))


def test_a_rank_far_below_the_others() -> None:
    """Its exponentials vanish beside the others', and its own sums must not overflow."""
    head, case = make_head(512), make_case(512)
    assert head.bias_V is not None
    bias = head.bias_V.clone()
    bias[256:] -= 900
    head = replace(head, bias_V=bias)
    agree(sharded(head, Capture(), case, Ranks(2))[0], whole(head, Capture(), case))


def test_what_travels_does_not_grow_with_the_vocabulary() -> None:
    sent = []
    for vocabulary in (1024, 16_384):
        ranks, case = Ranks(2), make_case(vocabulary)
        sharded(make_head(vocabulary), Capture(tail_samples=0), case, ranks)
        sent.append(ranks.sent)
    assert sent[0] == sent[1] == 37 * (2 * 64 + 2 + 2 + 2 * 2)


def test_logits_of_one_rank_that_are_not_finite_stop_all() -> None:
    head, case = make_head(256), make_case(256)
    weight = head.weight_VD.clone()
    weight[200] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        sharded(replace(head, weight_VD=weight), Capture(), case, Ranks(2))


def test_policies_and_heads_that_do_not_fit() -> None:
    head = make_head(100)
    with pytest.raises(ConfigError, match="vocabulary of 100"):
        sharded(head, Capture(top_k=101), make_case(100), Ranks(1))
    with pytest.raises(ConfigError, match="smaller --tensor-parallel-size"):
        sharded(make_head(60), Capture(top_k=4), make_case(60), Ranks(2))
