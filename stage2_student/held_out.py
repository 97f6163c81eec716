"""The KL to the teacher on held-out rows while training: always the same rows, whatever reads them.

The rows are the first of one seeded order of the held-out split, packed as in training. They do
not depend on the number of processes, nor on how many rows a forward pass takes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil

import torch

from schemas.dump_folder import DumpFolder
from schemas.errors import InputError
from schemas.progress import Report
from stage2_student.batch import Batch
from stage2_student.curriculum import Phase
from stage2_student.mixture import Mixture
from stage2_student.objective import Objective
from stage2_student.stream import Stream, open_stream
from stage2_student.terms import Term
from stage2_student.token_weights import TokenWeights

_SEED = 0
"""Of the choice of rows: trainings with different seeds are measured on the same ones."""

Run = Callable[[Batch, Objective], tuple[torch.Tensor, torch.Tensor]]
"""A student on a batch: (sum to minimise, [L] plain sums of the terms)."""

Reduce = Callable[[torch.Tensor], torch.Tensor]
"""Sums a tensor over all ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Means over the held-out positions, in nats.

    Attributes:
        kl: KL(teacher ‖ student), estimated as `evaluate` does.
        ce: cross-entropy on the realised tokens.
    """

    kl: float
    ce: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """What is measured on.

    Attributes:
        stream: of the held-out split; its first step is what is read.
        batches: of this rank.
        objective: forward KL and cross-entropy, at temperature 1.
    """

    stream: Stream
    batches: int
    objective: Objective

    def measure(self, run: Run, reduce: Reduce) -> Measured:
        """Measures; every rank must call this.

        Raises:
            InputError: there is no position to measure on.
        """
        sums = torch.zeros(3, dtype=torch.float64)
        with torch.no_grad():
            for batch in self._batches():
                _, terms = run(batch, self.objective)
                positions = batch.targets.weights_N.sum().reshape(1)
                sums += torch.cat([part.to("cpu", torch.float64) for part in (terms, positions)])
        kl, ce, positions = reduce(sums).tolist()
        if not positions:
            raise InputError(
                "the held-out rows have no position that is trained on, so nothing can be "
                "measured. Give a larger --holdout or more --eval-rows."
            )
        return Measured(kl=kl / positions, ce=ce / positions)

    def _batches(self) -> Iterator[Batch]:
        yield from islice(self.stream.epoch_batches(), self.batches)


def open_held_out(
    dumps: Sequence[DumpFolder], training: Stream, rows: int, rows_at_once: int, report: Report
) -> HeldOut:
    """The held-out side of what a training reads.

    Args:
        dumps: what is read.
        training: what this rank trains on.
        rows: rows to measure on, at most.
        rows_at_once: of a forward pass.
        report: told of the progress of the index.

    Raises:
        InputError: no row is held out.
    """
    draws = dumps[0].manifest.capture.tail_samples
    batches = ceil(rows / (training.place.world_size * rows_at_once))
    wanted = replace(
        training.settings,
        max_length=training.max_length,
        rows_per_step=rows,
        seed=_SEED,
        part="held_out",
        mixture=Mixture(),
        phases=(Phase(),),
        temperatures=(1.0,),
        tail_sample=draws > 0,
        weights=TokenWeights(),
        hidden=(),
    )
    kl = Term(loss="fkl", tail="sample" if draws else "bucket")
    return HeldOut(
        stream=open_stream(dumps, wanted, replace(training.place, micro_batches=batches), report),
        batches=batches,
        objective=Objective(terms=(kl, Term(loss="ce", weight=0.0, tail="none"))),
    )
