"""What the machine can run out of while training, in words that a user can act on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConfigError, TemporaryError

_SHOWN = 5


@contextmanager
def explained(out: Path) -> Iterator[None]:
    """Turns a lack of memory or of space on the disk into an error that says which knob to turn.

    Raises:
        ConfigError: out of memory, or --compile does not work here.
        TemporaryError: the run folder could not be written.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ConfigError(_memory(error)) from error
    except OSError as error:
        raise TemporaryError(_store(out, error)) from error
    except RuntimeError as error:
        if type(error).__module__.startswith("torch._dynamo"):  # whose import takes seconds
            raise ConfigError(_compilation(error)) from error
        if "can't allocate memory" in str(error):
            raise ConfigError(_memory(error)) from error
        if "PytorchStreamWriter" in str(error):
            raise TemporaryError(_store(out, error)) from error
        raise


def diverged(step: int, samples: Sequence[str]) -> str:
    """What is said of a step (from 0) whose loss or gradient is no finite number.

    Args:
        step: the step.
        samples: ids of the samples whose loss it was; none where only a gradient was.
    """
    shown = ", ".join(samples[:_SHOWN])
    rest = f" and {len(samples) - _SHOWN} more" if len(samples) > _SHOWN else ""
    what = f"the loss is not a finite number at step {step + 1}, on {shown}{rest}"
    if not samples:
        what = f"the gradient is not a finite number at step {step + 1}, though the loss is one"
    return (
        f"{what}. The weights were left as they were, and earlier checkpoints are kept. Lower "
        "--learning-rate or --max-grad-norm and begin anew, or look at these samples with "
        "`potstill inspect`."
    )


def weightless(step: int) -> str:
    """What is said of one step (from 1) without any weight."""
    return (
        f"nothing is learned in step {step}: all of its positions weigh 0. Look at --train-on, "
        "--token-weights and --wrong-weight if this comes often."
    )


def nothing_weighs(steps: int) -> str:
    """What is said where the first steps have no weight at all."""
    return (
        f"nothing can be learned: all positions of the first {steps} steps weigh 0. Perhaps "
        "--train-on names a kind of segment that the rows do not have (`potstill inspect` shows "
        "theirs), or --token-weights or --wrong-weight give 0 to all of them."
    )


def _memory(error: Exception) -> str:
    return (
        f"out of memory: {str(error).splitlines()[0]} Give a smaller --batch-size and as much more "
        "--grad-accumulation (the result stays the same), --gradient-checkpointing, or --dtype "
        "bfloat16."
    )


def _compilation(error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"--compile: torch could not compile the student: {reason} … Install a C++ compiler (g++), "
        "or leave --compile out."
    )


def _store(out: Path, error: Exception) -> str:
    return (
        f"{out} could not be written: {str(error).splitlines()[0]}. Free some space there (fewer "
        "--keep-checkpoints need less), then run the same command with --resume."
    )
