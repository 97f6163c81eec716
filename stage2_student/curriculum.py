"""What the first steps read instead: phases as users write them, without torch.

A phase is `until=STEP` with what it changes: `min_tokens`, `max_tokens`, `dump_weights`, as in
`until=1000 max_tokens=256` or `until=5000 dump_weights=3:1`. Phases follow one another; after the
last one the settings hold as they are. That covers growing lengths and changing mixtures, and a
change between two steps is all that a resumed run has to find again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.errors import ConfigError

_ADVICE = (
    "Write phases such as 'until=1000 max_tokens=256' or 'until=5000 dump_weights=3:1', with the "
    "words until, min_tokens, max_tokens and dump_weights."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Some steps of a training, and what they read.

    Attributes:
        until: the step before which it ends; None for the last phase.
        min_tokens: only sequences of at least so many tokens.
        max_tokens: only sequences of at most so many tokens.
        dump_weights: shares of the dumps; none for those of the settings.
    """

    until: int | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    dump_weights: tuple[float, ...] = ()


def parse_curriculum(written: Sequence[str]) -> tuple[Phase, ...]:
    """The phases, the last one of which has no end.

    Raises:
        ConfigError: one cannot be read, or does not end after the one before it.
    """
    phases = [_phase(text) for text in written]
    ends = [phase.until or 0 for phase in phases]
    if ends != sorted(set(ends)):
        raise ConfigError(
            f"the phases of curriculum end at the steps {', '.join(map(str, ends))}; each must end "
            "after the one before it. Put them in order."
        )
    return (*phases, Phase())


def check_curriculum(written: Sequence[str], steps: int | None, max_passes: int | None) -> None:
    """Checks a curriculum against the other settings.

    Raises:
        ConfigError: it cannot be read, or cannot go with them.
    """
    phases = parse_curriculum(written)[:-1]
    if not phases:
        return
    if steps is None or phases[-1].until is None or phases[-1].until >= steps:
        raise ConfigError(
            f"curriculum ends at step {phases[-1].until}, and steps is {steps or 'not given'}. "
            "Give --steps, and let the last phase end before them."
        )
    if max_passes is not None:
        raise ConfigError(
            "curriculum and max_passes do not go together: every phase begins passes of its own. "
            "Leave one of them out."
        )


def check_weights(weights: Sequence[float]) -> None:
    """Checks weights of dumps.

    Raises:
        ConfigError: one is negative, or they sum to zero.
    """
    if weights and (min(weights) < 0 or not 0 < sum(weights) < float("inf")):
        shown = ", ".join(f"{weight:g}" for weight in weights)
        raise ConfigError(
            f"dump_weights are numbers from 0 that do not sum to zero; found {shown}. Give for "
            "example --dump-weights 3,1."
        )


def _phase(text: str) -> Phase:
    phase, seen = Phase(), set()
    for word in text.split():
        name, _, value = word.partition("=")
        if name in seen:
            raise ConfigError(f"curriculum: {text!r} says {name} twice. {_ADVICE}")
        seen.add(name)
        phase = _with(phase, name, value, text)
    if not phase.until or len(seen) < 2:
        raise ConfigError(f"curriculum: {text!r} has no until, or changes nothing. {_ADVICE}")
    return phase


def _with(phase: Phase, name: str, value: str, text: str) -> Phase:
    try:
        if name == "dump_weights":
            weights = tuple(float(part) for part in value.split(":"))
            check_weights(weights)
            return replace(phase, dump_weights=weights)
        number = int(value)
    except ValueError:
        number = 0
    if number < 1 or name not in ("until", "min_tokens", "max_tokens"):
        raise ConfigError(f"curriculum: {name}={value} in {text!r} is not understood. {_ADVICE}")
    if name == "until":
        return replace(phase, until=number)
    if name == "min_tokens":
        return replace(phase, min_tokens=number)
    return replace(phase, max_tokens=number)
