"""What two teachers say about the same positions, from what was kept of each.

Their distributions are compared over the tokens that both kept, and everything else as one outcome.
That is a coarser view of them, so the KL divergence is a lower bound of the true one: 0 for equal
teachers, and close where most of the probability is kept.

Shapes: P positions, E entries kept by a teacher, C entries kept by both.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.row_group import RowGroup

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LEAST = 1e-12
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How the teachers compare.

    Attributes:
        positions: positions that both captured.
        rows_left_out: rows of which they captured other positions.
        kl: mean of KL(a ‖ b), in nats: a lower bound, see above.
        top1_agreement: share of the positions where their most probable tokens are the same.
        mean_logprob_difference: mean |difference| of the realised tokens' exact log-probabilities.
        perplexity_a: of the first one.
        perplexity_b: of the second one.
    """

    positions: int
    rows_left_out: int
    kl: float
    top1_agreement: float
    mean_logprob_difference: float
    perplexity_a: float
    perplexity_b: float

    @property
    def same(self) -> bool:
        """Whether they say the same everywhere."""
        exact = self.kl < _EQUAL and self.mean_logprob_difference == 0
        return exact and self.rows_left_out == 0


@dataclass(slots=True)
class TeacherSums:
    """Accumulates over pairs of tables with the same rows in the same order."""

    positions: int = 0
    rows_left_out: int = 0
    kl: float = 0.0
    top1: int = 0
    difference: float = 0.0
    surprise_a: float = 0.0
    surprise_b: float = 0.0

    def add(self, a: pa.Table, b: pa.Table) -> None:
        """Adds some rows."""
        alike = _captured_alike(a, b)
        self.rows_left_out += int((~alike).sum())
        if not alike.all():
            a, b = a.filter(alike), b.filter(alike)
        one, two = RowGroup.of(a), RowGroup.of(b)
        if not len(one.positions.values):
            return
        self.positions += len(one.positions.values)
        self.kl += float(_divergence(one, two).sum())
        firsts = [group.topk_ids.values[group.topk_ids.inner[:-1]] for group in (one, two)]
        self.top1 += int((firsts[0] == firsts[1]).sum())
        exact = [group.token_logprobs.values.astype(np.float64) for group in (one, two)]
        self.difference += float(np.abs(exact[0] - exact[1]).sum())
        self.surprise_a -= float(exact[0].sum())
        self.surprise_b -= float(exact[1].sum())

    def result(self) -> Comparison:
        """The means."""
        count = max(1, self.positions)
        return Comparison(
            positions=self.positions,
            rows_left_out=self.rows_left_out,
            kl=self.kl / count,
            top1_agreement=self.top1 / count,
            mean_logprob_difference=self.difference / count,
            perplexity_a=float(np.exp(self.surprise_a / count)),
            perplexity_b=float(np.exp(self.surprise_b / count)),
        )


def _captured_alike(a: pa.Table, b: pa.Table) -> npt.NDArray[np.bool_]:
    pairs = zip(a["captured"].to_pylist(), b["captured"].to_pylist(), strict=True)
    return np.asarray([one == two for one, two in pairs], np.bool_)


def _divergence(a: RowGroup, b: RowGroup) -> Doubles:
    """[P] KL over the shared entries and the rest."""
    keys_a, shares_a = _entries(a)
    keys_b, shares_b = _entries(b)
    shared, at_a, at_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    owner, count = shared >> 32, len(a.positions.values)
    p, q = np.maximum(shares_a[at_a], _LEAST), np.maximum(shares_b[at_b], _LEAST)
    kl = np.bincount(owner, p * np.log(p / q), minlength=count)
    rest_p = np.maximum(1 - np.bincount(owner, p, minlength=count), _LEAST)
    rest_q = np.maximum(1 - np.bincount(owner, q, minlength=count), _LEAST)
    result: Doubles = np.maximum(kl + rest_p * np.log(rest_p / rest_q), 0)
    return result


def _entries(group: RowGroup) -> tuple[Ints, Doubles]:
    """[E] position and token as one number, and the decoded probability."""
    starts, counts = group.topk_ids.inner[:-1], np.diff(group.topk_ids.inner)
    owner = np.repeat(np.arange(len(starts)), counts)
    weights = np.exp(group.topk_logits.values.astype(np.float64))
    kept = -np.expm1(group.tail_logmass.values.astype(np.float64))
    shares = weights * (kept / np.add.reduceat(weights, starts))[owner]
    return (owner << 32) | group.topk_ids.values, shares
