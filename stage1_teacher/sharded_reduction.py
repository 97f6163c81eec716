"""The reduction of a head that is cut over tensor-parallel ranks: each rank reduces its own slice.

A rank holds the columns [start, start + V) of the logits. It finds its candidates and sums; one
small all-gather makes them everybody's, and everybody chooses the same kept entries; each rank
takes its own of them out; a second one makes the tails' masses everybody's, so that every rank
knows which of the draws fall into its slice; a third one brings those together. Per row 2·top_k
numbers travel and a few more, never the vocabulary.

Ranks must call in step, with the same rows; what they get is the same on all of them.

Shapes: N rows, D hidden width, V columns of this rank, R ranks, T temperatures, K candidates of a
rank, E kept entries, S draws, M blocks of W columns that hold kept entries.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.errors import ConfigError
from schemas.manifest import Capture
from stage1_teacher.capture import Reduced, check_finite, check_top_k
from stage1_teacher.head_rows import BlockRows, FewRows, HeadRows
from stage1_teacher.output_head import OutputHead
from stage1_teacher.row_sums import RowSums
from stage1_teacher.selection import Selection, block_width, select
from stage1_teacher.tail_sample import entries_at, first_above, tail_points

AllGather = Callable[[Tensor], Tensor]
"""[…] of this rank → [R, …] of all, in the order of the ranks; copies float32 bit by bit."""

_MARGIN = 1 - 1e-5
"""A rank's candidates are chosen by its own sum, a rounding away from everybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Where this rank's slice of the vocabulary lies.

    Attributes:
        rank: this rank; a higher rank holds higher ids.
        start: id of its first column.
        vocabulary: width of the whole head, padding left out.
        all_gather: the ranks' means of exchange.
    """

    rank: int
    start: int
    vocabulary: int
    all_gather: AllGather


class ShardedReduction:
    """Takes the place of `Reduction` where each rank holds a slice of the head."""

    def __init__(
        self, head: OutputHead, shard: Shard, capture: Capture, rows: BlockRows | None = None
    ) -> None:
        """Allocates the buffers; `head` is this rank's slice without padding.

        Raises:
            ConfigError: `top_k` is above the vocabulary, or this rank has none of it.
        """
        check_top_k(capture, shard.vocabulary)
        if head.size == 0:
            raise ConfigError(
                f"rank {shard.rank} has no part of a vocabulary of {shard.vocabulary}. "
                "Give a smaller --tensor-parallel-size."
            )
        self._shard, self._capture = shard, capture
        self._one = capture.temperatures.index(1.0)
        self._local = _local_policy(capture, head.size)
        self._width = block_width(head.size, self._local)
        self._rows = HeadRows(head, self._width, rows)

    @property
    def buffer_bytes(self) -> int:
        """Memory of the block buffers."""
        return self._rows.buffer_bytes

    def __call__(
        self, hidden_ND: Tensor, next_ids_N: Tensor, offsets_N: Tensor
    ) -> Iterator[Reduced]:
        """Yields what is kept, a few rows at a time, in order; arguments as for `Reduction`.

        Raises:
            ModelError: logits are not finite, of any rank.
        """
        for part in self._rows(hidden_ND):
            yield self._reduce(part, next_ids_N[part.span], offsets_N[part.span])

    def _reduce(self, part: FewRows, next_ids_N: Tensor, offsets_N: Tensor) -> Reduced:
        sums = RowSums(part, self._width, self._capture.temperatures)
        everybody = self._meet(sums, self._realised(part.logits_NV, next_ids_N))
        check_finite(everybody.totals_N)
        rows_E, ids_E, logits_E = everybody.kept(self._capture)
        self._take_out(sums, rows_E, ids_E)
        tails_RNT = self._tails(sums, everybody.largest_N)
        masses_RN = tails_RNT[..., self._one]
        points = tail_points(
            masses_RN.sum(0), everybody.totals_N, offsets_N, self._capture.tail_samples
        )
        drawn = self._draw(part.logits_NV, sums, masses_RN, points)
        largest_N = everybody.largest_N
        return Reduced(
            kept=(rows_E, ids_E, logits_E - largest_N[rows_E]),
            drawn=(*drawn[:2], drawn[2] - largest_N[drawn[0]]),
            tails_NT=tails_RNT.sum(0),
            largest_N=largest_N,
            token_logprobs_N=everybody.realised_N - largest_N - everybody.totals_N.log(),
        )

    def _meet(self, sums: RowSums, realised_N: Tensor) -> "_Everybody":
        """The first all-gather: candidates, maxima, sums at temperature 1, realised logits."""
        totals_N = sums.totals_N()
        chosen = select(sums.logits_NBW, sums.maxima_NB, totals_N, self._local)
        ids_NK, logits_NK = self._dense(chosen, len(totals_N))
        sent = [ids_NK.int().view(torch.float32), logits_NK, _bits(totals_N)]
        singles = torch.stack([sums.largest_N, realised_N], dim=-1)
        gathered = self._shard.all_gather(torch.cat([*sent, singles], dim=-1))
        top_k = self._capture.top_k
        ids, logits, totals, singles = torch.split(gathered, [top_k, top_k, 2, 2], dim=-1)
        return _Everybody.of(
            ids.contiguous().view(torch.int32).long(), logits, _doubles(totals)[..., 0], singles
        )

    def _realised(self, logits_NV: Tensor, next_ids_N: Tensor) -> Tensor:
        """The realised tokens' logits where they are in this slice, else minus infinity."""
        columns_N = next_ids_N - self._shard.start
        mine_N = (columns_N >= 0) & (columns_N < self._rows.size)
        at_N = columns_N.clamp(0, self._rows.size - 1).unsqueeze(-1)
        return torch.where(mine_N, logits_NV.gather(1, at_N).squeeze(-1).float(), -torch.inf)

    def _dense(self, chosen: Selection, rows: int) -> tuple[Tensor, Tensor]:
        """[N, K] ids and logits of this rank's candidates; minus infinity where there are fewer."""
        counts_N = torch.bincount(chosen.rows_E, minlength=rows)
        firsts_N = counts_N.cumsum(0) - counts_N
        place_E = torch.arange(len(chosen.rows_E), device=counts_N.device)
        place_E -= firsts_N[chosen.rows_E]
        shape = (rows, self._capture.top_k)
        ids_NK = chosen.ids_E.new_zeros(shape)
        logits_NK = chosen.logits_E.new_full(shape, -torch.inf)
        ids_NK[chosen.rows_E, place_E] = chosen.ids_E + self._shard.start
        logits_NK[chosen.rows_E, place_E] = chosen.logits_E
        return ids_NK, logits_NK

    def _take_out(self, sums: RowSums, rows_E: Tensor, ids_E: Tensor) -> None:
        """Takes the kept entries of this slice out of its sums."""
        columns_E = ids_E - self._shard.start
        mine_E = (columns_E >= 0) & (columns_E < self._rows.size)
        rows_E, columns_E = rows_E[mine_E], columns_E[mine_E]
        blocks = sums.maxima_NB.shape[1]
        blocks_E = rows_E * blocks + columns_E // self._width
        blocks_M, visit_E = torch.unique(blocks_E, return_inverse=True)
        rest_MW = sums.logits_NBW.flatten(0, 1).index_select(0, blocks_M).float()
        rest_MW[visit_E, columns_E % self._width] = -torch.inf
        sums.replace(blocks_M, rest_MW)

    def _tails(self, sums: RowSums, largest_N: Tensor) -> Tensor:
        """[R, N, T] the second all-gather: every rank's sums outside the kept entries, float64."""
        gaps_N1 = (sums.largest_N - largest_N).double().unsqueeze(-1)
        temperatures = torch.tensor(self._capture.temperatures, device=gaps_N1.device)
        tails_NT = sums.totals_NT() * (gaps_N1 / temperatures).exp()
        return _doubles(self._shard.all_gather(_bits(tails_NT)))

    def _draw(
        self,
        logits_NV: Tensor,
        sums: RowSums,
        masses_RN: Tensor,
        points: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, ids and logits of the draws: the third all-gather, each rank giving its own."""
        (rows_S, points_S), rank = points, self._shard.rank
        cumulative_NR = masses_RN.t().cumsum(-1)
        mine_S = first_above(cumulative_NR.contiguous(), rows_S, points_S) == rank
        rows_O = rows_S[mine_S]
        left_O = points_S[mine_S] - (cumulative_NR[:, rank] - masses_RN[rank])[rows_O]
        # this rank's sums are in units of its own maximum
        scale_O = (sums.totals_NT()[:, self._one] / masses_RN[rank])[rows_O]
        columns_O = entries_at(sums.weights_NBW, sums.sums_NB, rows_O, left_O * scale_O)
        sent_S2 = logits_NV.new_zeros((len(rows_S), 2), dtype=torch.float32)
        sent_S2[mine_S, 0] = (columns_O + self._shard.start).float()
        sent_S2[mine_S, 1] = logits_NV[rows_O, columns_O].float()
        gathered_S2 = self._shard.all_gather(sent_S2).sum(0) if len(rows_S) else sent_S2
        return rows_S, gathered_S2[:, 0].long(), gathered_S2[:, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Everybody:
    """What all ranks know after they met.

    Attributes:
        ids_NC: candidates of all ranks, C = R·K, most probable first, ties by lowest id.
        logits_NC: theirs.
        totals_N: sum of exp(logit − max) over the whole vocabulary, float64.
        largest_N: the largest logit.
        realised_N: logit of the realised token.
    """

    ids_NC: Tensor
    logits_NC: Tensor
    totals_N: Tensor
    largest_N: Tensor
    realised_N: Tensor

    @classmethod
    def of(
        cls, ids_RNK: Tensor, logits_RNK: Tensor, totals_RN: Tensor, singles_RN2: Tensor
    ) -> "_Everybody":
        largest_RN, realised_RN = singles_RN2.unbind(-1)
        largest_N = largest_RN.amax(0)
        ids_NC, logits_NC = (x.transpose(0, 1).flatten(1) for x in (ids_RNK, logits_RNK))
        # ranks follow each other by id, and a rank's ties do: a stable sort keeps the lowest first
        sorted_NC = logits_NC.sort(dim=-1, descending=True, stable=True)
        return cls(
            ids_NC=ids_NC.gather(1, sorted_NC.indices),
            logits_NC=sorted_NC.values,
            totals_N=(totals_RN * (largest_RN - largest_N).double().exp()).sum(0),
            largest_N=largest_N,
            realised_N=realised_RN.amax(0),
        )

    def kept(self, capture: Capture) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, ids and logits of the kept entries, by the whole policy."""
        logits_NK = self.logits_NC[:, : capture.top_k]
        keep_NK = logits_NK > -torch.inf
        if capture.min_prob is not None:
            p_NK = (logits_NK - self.largest_N.unsqueeze(-1)).exp()
            keep_NK = p_NK >= (capture.min_prob * self.totals_N).unsqueeze(-1)
            keep_NK[:, 0] = True
        rows_E, place_E = keep_NK.nonzero(as_tuple=True)
        return rows_E, self.ids_NC[rows_E, place_E], logits_NK[rows_E, place_E]


def _local_policy(capture: Capture, size: int) -> Capture:
    """What chooses a rank's candidates: all that the whole policy may keep are among them.

    An entry's share of its slice is no smaller than its share of the whole.
    """
    low = None if capture.min_prob is None else capture.min_prob * _MARGIN
    return capture.model_copy(update={"top_k": min(capture.top_k, size), "min_prob": low})


def _bits(values: Tensor) -> Tensor:
    """Float64 as twice as many float32, for an exchange that knows no float64."""
    wide = values if values.dim() > 1 else values.unsqueeze(-1)
    return wide.contiguous().view(torch.float32)


def _doubles(bits: Tensor) -> Tensor:
    return bits.contiguous().view(torch.float64)
