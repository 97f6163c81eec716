"""How long work tells what it is doing. Libraries report; only the command line prints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One message of a long step.

    Attributes:
        stage: what is going on, in a word or two: "count corpus", "dump", "train", "evaluate".
        done: how much is done, in `unit`s.
        total: how much there is, or None when it is not known.
        unit: what is counted: "tokens", "steps", "rows".
        figures: further live figures by name: "tokens/s", "bytes/token", "loss", "step".
        message: a sentence to log, or empty for a plain tick.
    """

    stage: str
    done: float = 0
    total: float | None = None
    unit: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


Report = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """A `Report` that says nothing."""
