"""The losses on hidden states of a batch: a module beside the student's own, never saved with it.

It hangs on the student while it trains, so that whatever wraps the student (DDP, FSDP), steps it
and clips its gradients does so for the projectors, too. `projector_file.py` takes it apart again.

Shapes: B rows, T places, N trained positions, D the student's width, W elements of a stored state,
H terms on hidden states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from schemas.codec_hidden import Floats
from schemas.hidden_layers import sorted_layers
from stage2_student.batch import Batch
from stage2_student.hidden_losses import HIDDEN_LOSSES
from stage2_student.hidden_terms import HiddenTerm, LayerPair
from stage2_student.state_signals import StateSignals

NAME = "potstill_hidden"
"""Of the module on the student while it trains."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StatePlan:
    """What is compared, and with which fixed numbers.

    Attributes:
        terms: with pairs of layers, and with a projector or none.
        student_widths: of each of the student's layers.
        stored_width: W.
        projection: [D, W] what the dump's states were multiplied by, if they were.
        spreads: [W] by the teacher's layer, where a loss reads them.
        seed: of the projectors' first weights.
    """

    terms: Sequence[HiddenTerm]
    student_widths: Mapping[str, int]
    stored_width: int
    projection: Floats | None
    spreads: Mapping[str, Floats]
    seed: int

    @property
    def student_layers(self) -> list[str]:
        """The student's layers, each once."""
        return sorted_layers(pair.student for term in self.terms for pair in term.pairs)

    @property
    def learned(self) -> list[LayerPair]:
        """The pairs with a projector that is learned; terms share it."""
        terms = (term for term in self.terms if term.projector == "linear")
        return sorted({pair for term in terms for pair in term.pairs})


class HiddenMatching(torch.nn.Module):
    """Computes the terms from both models' states.

    A learned projector is a linear map without bias from the student's width to that of the stored
    states, orthonormal at first. Without one the states are compared as they are, or after the
    fixed matrix that the dump's own states were multiplied by.
    """

    def __init__(self, plan: StatePlan) -> None:
        super().__init__()
        self.plan = plan
        self.maps = torch.nn.ModuleDict(
            {map_name(pair): _linear(plan, pair) for pair in plan.learned}
        )
        for layer, spread in plan.spreads.items():
            self.register_buffer(f"spread_{layer}", torch.from_numpy(spread), persistent=False)
        if plan.projection is not None:
            matrix = torch.tensor(plan.projection)
            self.register_buffer("projection", matrix, persistent=False)

    def forward(self, states: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """[H] sums over the positions, each position times its weight; differentiable.

        Args:
            states: the student's by layer, [B, T, D].
            batch: what the teacher's states and the positions' weights come from.
        """
        return torch.stack([self._mean_over_pairs(term, states, batch) for term in self.plan.terms])

    def _mean_over_pairs(
        self, term: HiddenTerm, states: Mapping[str, torch.Tensor], batch: Batch
    ) -> torch.Tensor:
        weights_N = batch.targets.weights_N
        losses = (self._loss(term, pair, states, batch) for pair in term.pairs)
        return torch.stack([(loss_N * weights_N).sum() for loss_N in losses]).mean()

    def _loss(
        self, term: HiddenTerm, pair: LayerPair, states: Mapping[str, torch.Tensor], batch: Batch
    ) -> torch.Tensor:
        """[N] the loss of each position."""
        loss = HIDDEN_LOSSES[term.loss]
        student_ND = states[pair.student].flatten(0, 1)[batch.targets.rows_N]
        student_NW = self._projected(term, pair, student_ND)
        teacher_NW = batch.states[pair.teacher].to(student_NW.dtype)
        spread_W = teacher_NW.new_ones(teacher_NW.shape[1])
        if loss.spread:
            spread_W = self.get_buffer(f"spread_{pair.teacher}")
        with torch.autocast(student_NW.device.type, enabled=False):
            signals = StateSignals(student_NW=student_NW, teacher_NW=teacher_NW, spread_W=spread_W)
            return loss.compute(signals)

    def _projected(
        self, term: HiddenTerm, pair: LayerPair, student_ND: torch.Tensor
    ) -> torch.Tensor:
        """[N, W], in float32 at least."""
        if term.projector == "linear":
            student_ND = self.maps[map_name(pair)](student_ND)
        wide = torch.promote_types(student_ND.dtype, torch.float32)
        student_ND = student_ND.to(wide)
        if term.projector == "linear" or self.plan.projection is None:
            return student_ND
        with torch.autocast(student_ND.device.type, enabled=False):
            return student_ND @ self.get_buffer("projection").to(wide)


def map_name(pair: LayerPair) -> str:
    """A pair's projector: no sign in it that names of modules or files cannot have."""
    return f"student_{pair.student}_teacher_{pair.teacher}"


def _linear(plan: StatePlan, pair: LayerPair) -> torch.nn.Linear:
    """Each pair has a generator of its own, so that one more changes no other."""
    linear = torch.nn.Linear(plan.student_widths[pair.student], plan.stored_width, bias=False)
    generator = torch.Generator().manual_seed(plan.seed)
    torch.nn.init.orthogonal_(linear.weight, generator=generator)
    return linear
