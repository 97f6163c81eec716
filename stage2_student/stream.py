"""Batches of one rank out of dumps: shuffled, packed, resumable at any step with any ranks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.dump_folder import DumpFolder
from schemas.progress import Report, ignore
from stage2_student.batch import Batch
from stage2_student.epoch_plan import EpochPlan
from stage2_student.split import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What is read, and in which order.

    Attributes:
        rows_per_step: rows (packed, or documents) of a step over all ranks and micro-batches.
        max_length: tokens of a packed row; None for the longest sequence of the dumps.
        packing: several documents in a row; otherwise one each, padded on the right.
        shuffle: a new order in every epoch; otherwise the dumps' own.
        seed: of the order.
        part: which side of the held-out split.
        held_out: share of the documents that is held out.
        temperatures: the tail mass is read at each of these.
        tail_sample: read the tail sample too.
        train_on: kinds of segments whose tokens are trained on; none for every captured position.
    """

    rows_per_step: int
    max_length: int | None = None
    packing: bool = True
    shuffle: bool = True
    seed: int = 0
    part: Part = "train"
    held_out: float = 0.0
    temperatures: tuple[float, ...] = (1.0,)
    tail_sample: bool = True
    train_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who reads: every (rank, micro-batch) gets its share of a step's rows."""

    rank: int = 0
    world_size: int = 1
    micro_batches: int = 1


def open_stream(
    dumps: Sequence[DumpFolder],
    settings: StreamSettings,
    place: Place | None = None,
    report: Report = ignore,
) -> "Stream":
    """Opens a stream at the start of epoch 0; reads an index of all rows first."""
    raise NotImplementedError


class Stream:
    """Endless batches, epoch after epoch; each step gives `place.micro_batches` of them."""

    max_length: int
    rows: int

    def __iter__(self) -> Iterator[Batch]:
        """From the current step on, without end; a background thread reads ahead."""
        raise NotImplementedError

    def epoch_batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, from its start; does not touch the current step."""
        raise NotImplementedError

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of an epoch: `.steps`, `.tokens`, `.fill`."""
        raise NotImplementedError

    def seek(self, step: int) -> None:
        """Goes to an absolute step (over all epochs), as if that many steps had been read."""
        raise NotImplementedError

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """JSON-able state after `step` steps; by default those that were wholly given out."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where a state was taken, also with other ranks and micro-batches.

        Raises:
            MismatchError: other dumps or an other order; every differing field is shown.
        """
        raise NotImplementedError
