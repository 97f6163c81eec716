"""Batches of one rank out of dumps: shuffled, packed, resumable at any step with any ranks."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.dump_folder import DumpFolder
from schemas.errors import ConfigError, MismatchError
from schemas.progress import Report, ignore
from stage2_student.batch import Batch
from stage2_student.batch_maker import BatchMaker, Reading
from stage2_student.course import Course, Point, Stretch
from stage2_student.curriculum import Phase
from stage2_student.dump_agreement import check_agreement, common_temperatures
from stage2_student.epoch_plan import EpochPlan, EpochPlans, OrderSettings
from stage2_student.mixture import Mixture, check_mixture
from stage2_student.order import SPAN_TOKENS
from stage2_student.read_ahead import read_ahead
from stage2_student.row_filter import RowFilter, check_filter
from stage2_student.row_index import RowChoice, RowIndex, read_index
from stage2_student.shard_reader import Wanted
from stage2_student.split import Part
from stage2_student.tasks import Tasks
from stage2_student.token_weights import TokenWeights

AHEAD = 4
"""Batches made in advance."""

_SMALL_STATES = 1024
"""Bytes: up to so many of hidden states a token, the order is that of a training without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What is read, and in which order.

    Attributes:
        rows_per_step: rows (packed, or documents) of a step over all ranks and micro-batches.
        max_length: tokens of a packed row; None for the longest sequence of the dumps.
        packing: several documents in a row; otherwise one each, padded on the right.
        shuffle: a new order in every pass; otherwise the dumps' own.
        seed: of the order.
        only: which rows are read at all.
        mixture: how often dumps or sources are read.
        phases: of the curriculum; the last one has no end.
        part: which side of the held-out split.
        held_out: share of the documents that is held out.
        temperatures: the tail mass is read at each of these.
        tail_sample: read the tail sample too.
        train_on: kinds of segments whose tokens are trained on; none for every captured position.
        weights: what positions weigh in the loss.
        hidden: layers of the teacher whose states are read.
        tasks: what rows are split into.
    """

    rows_per_step: int
    max_length: int | None = None
    packing: bool = True
    shuffle: bool = True
    seed: int = 0
    only: RowFilter = field(default_factory=RowFilter)
    mixture: Mixture = field(default_factory=Mixture)
    phases: tuple[Phase, ...] = (Phase(),)
    part: Part = "train"
    held_out: float = 0.0
    temperatures: tuple[float, ...] = (1.0,)
    tail_sample: bool = True
    train_on: tuple[str, ...] = ()
    weights: TokenWeights = field(default_factory=TokenWeights)
    hidden: tuple[str, ...] = ()
    tasks: Tasks = field(default_factory=Tasks)


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
    """Opens a stream at the start of epoch 0; reads an index of all rows first.

    Args:
        dumps: what to read; several are read as one.
        settings: what of it, in which order.
        place: whose share; by default all of it.
        report: told of the progress of the index.

    Raises:
        MismatchError: the dumps differ in teacher, tokenizer, capture policy or codec.
        ConfigError: a sequence is longer than `max_length`, a temperature or a verdict is not in
            the dumps, or the weights do not fit them.
        InputError: nothing is left to read.
        DamagedError: a shard cannot be read.
    """
    check_agreement(dumps)
    _check_temperatures(dumps, settings)
    check_filter(settings.only, dumps)
    for phase in settings.phases:
        check_mixture(settings.mixture.in_phase(phase), len(dumps))
    choice = RowChoice(
        part=settings.part,
        held_out=settings.held_out,
        only=settings.only,
        with_sources=settings.mixture.by_source,
        tasks=settings.tasks,
    )
    index = read_index(dumps, choice, report)
    return Stream(dumps, index, settings, place or Place())


def _check_temperatures(dumps: Sequence[DumpFolder], settings: StreamSettings) -> None:
    held = common_temperatures(dumps)
    missing = [t for t in settings.temperatures if t not in held]
    if missing:
        raise ConfigError(
            f"temperature {missing[0]:g} is not in the dump, which holds "
            f"{', '.join(f'{t:g}' for t in held)}. Take one of these, or dump again with "
            f"--temperatures."
        )


class Stream:
    """Endless batches, epoch after epoch; each step gives `place.micro_batches` of them.

    Attributes:
        index: the rows that are read.
        max_length: tokens of a packed row.
        settings: what is read.
        place: by whom.
    """

    def __init__(
        self,
        dumps: Sequence[DumpFolder],
        index: RowIndex,
        settings: StreamSettings,
        place: Place,
    ) -> None:
        self.index = index
        self.max_length = settings.max_length or index.longest
        self.settings = settings
        self.place = place
        self._dumps = dumps
        self._point = Point()
        self._plans = EpochPlans(index, self._order_settings())
        self._course = Course(self._plans, settings.phases)
        self._plans.of(0)  # says at once when a sequence does not fit
        self._maker = BatchMaker(dumps, index, self._plans, self._reading())

    def plan(self, epoch: int, phase: int = 0) -> EpochPlan:
        """The plan of an epoch (from 0) of a phase: `.steps`, `.tokens`, `.fill`."""
        return self._plans.of(epoch, phase)

    def shares(self) -> dict[str, float]:
        """What each dump or source gets of the tokens, after the curriculum."""
        return self._plans.shares(len(self.settings.phases) - 1)

    def __iter__(self) -> Iterator[Batch]:
        """From the current step on, without end; a background thread reads ahead."""
        made = self._maker.batches(self._course.stretches(self._point))
        with closing(read_ahead(made, AHEAD)) as batches:
            for given, batch in enumerate(batches, 1):
                if given % self.place.micro_batches == 0:
                    self._point = self._course.after(self._point, 1)
                yield batch

    def epoch_batches(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from its start; does not touch the current step."""
        whole = Stretch(phase=0, epoch=epoch, first=0, end=self.plan(epoch).steps)
        yield from read_ahead(self._maker.batches(iter([whole])), AHEAD)

    def seek(self, step: int) -> None:
        """Goes to an absolute step (over all epochs), as if that many steps had been read.

        Raises:
            ConfigError: there are not so many.
        """
        self._point = self._course.after(Point(), step)

    def check_length(self, steps: int) -> None:
        """Checks that so many steps can be read; plans every epoch of them.

        Raises:
            ConfigError: there are fewer; says how many.
        """
        self._course.after(Point(), steps)

    def state_dict(self) -> dict[str, Any]:
        """JSON-able: the steps whose batches were all given out, and what decides the order."""
        return {"at": asdict(self._point), **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where a state was taken, also with other ranks and micro-batches.

        Raises:
            MismatchError: other dumps or another order; every differing field is shown.
        """
        here = self._identity()
        lines = [
            f"\n  {name}: {state.get(name)!r} there, {value!r} here"
            for name, value in here.items()
            if state.get(name) != value
        ]
        if lines:
            raise MismatchError(
                "the data cannot be continued where it stopped, since its order has changed:"
                + "".join(lines)
                + "\nGive the values of the first run, or start anew in another folder."
            )
        self._point = Point(**state["at"])

    def _order_settings(self) -> OrderSettings:
        settings = self.settings
        return OrderSettings(
            rows_per_step=settings.rows_per_step,
            max_length=self.max_length,
            packing=settings.packing,
            shuffle=settings.shuffle,
            seed=settings.seed,
            mixture=settings.mixture,
            phases=settings.phases,
            span_tokens=self._span_tokens(),
        )

    def _span_tokens(self) -> int:
        """Fewer where the states of a token are large, so that the memory stays the same."""
        capture = self._dumps[0].manifest.capture
        each = capture.stored_width * (2 if capture.hidden_codec == "bf16" else 1)
        return SPAN_TOKENS * _SMALL_STATES // max(_SMALL_STATES, each * len(self.settings.hidden))

    def _reading(self) -> Reading:
        settings, place = self.settings, self.place
        first = place.rank * place.micro_batches
        return Reading(
            parts=range(first, first + place.micro_batches),
            of_parts=place.world_size * place.micro_batches,
            length=self.max_length if settings.packing else None,
            wanted=Wanted(
                temperatures=settings.temperatures,
                tail_sample=settings.tail_sample,
                train_on=settings.train_on,
                weights=settings.weights,
                hidden=settings.hidden,
                tasks=settings.tasks,
            ),
        )

    def _identity(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "dumps": [dump.manifest.identity for dump in self._dumps],
            "rows_per_step": settings.rows_per_step,
            "max_length": self.max_length,
            "packing": settings.packing,
            "shuffle": settings.shuffle,
            "seed": settings.seed,
            "part": settings.part,
            "held_out": settings.held_out,
            "only": _jsonable(settings.only),
            "mixture": _jsonable(settings.mixture),
            "curriculum": [_jsonable(phase) for phase in settings.phases],
            **({"tasks": settings.tasks.jsonable()} if settings.tasks else {}),
        }


def _jsonable(settings: RowFilter | Mixture | Phase) -> dict[str, Any]:
    """As it comes back out of JSON."""
    return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(settings).items()}
