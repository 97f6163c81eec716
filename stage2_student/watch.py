"""The lowest held-out KL of a training: which checkpoint has it, and when it is time to stop."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from schemas.progress import Progress
from stage2_student.held_out import Measured

if TYPE_CHECKING:
    from stage2_student.trainer import DistillationTrainer


@dataclass(slots=True, kw_only=True)
class Lowest:
    """The lowest KL so far.

    Attributes:
        patience: measurements without a lower one after which to stop; None for no end.
        step: where it was measured.
        kl: None before the first measurement.
        since: measurements after it.
    """

    patience: int | None = None
    step: int = 0
    kl: float | None = None
    since: int = 0

    def tell(self, step: int, kl: float) -> bool:
        """Takes in a measurement; gives whether it is the lowest."""
        if self.kl is None or kl < self.kl:
            self.step, self.kl, self.since = step, kl, 0
            return True
        self.since += 1
        return False

    @property
    def enough(self) -> bool:
        """Whether it is time to stop."""
        return self.patience is not None and self.since >= self.patience

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a state; the patience is that of now."""
        self.step, self.kl, self.since = state["step"], state["kl"], state["since"]

    def state(self) -> dict[str, Any]:
        """JSON-able, for a checkpoint."""
        return asdict(self)


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers' types are left out
    """Measures after every so many steps and after the last; every rank does the same."""

    def __init__(self, trainer: "DistillationTrainer", every: int, lowest: Lowest) -> None:
        self.lowest = lowest
        self._trainer = trainer
        self._every = every

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The lowest one is saved; so it is there when a later step ends the training."""
        step, last = state.global_step, state.global_step >= state.max_steps
        if step % self._every and not last:
            return
        found = self._trainer.measure()
        lowest = self.lowest.tell(step, found.kl)
        control.should_log = True
        control.should_save = control.should_save or (lowest and not last)
        control.should_training_stop = control.should_training_stop or self.lowest.enough
        if self._trainer.is_world_process_zero():
            message = self._message(step, found, lowest)
            self._trainer.training.report(Progress(stage="train", message=message))

    def _message(self, step: int, found: Measured, is_lowest: bool) -> str:
        lowest = self.lowest
        if is_lowest:
            beside = "the lowest so far"
        else:
            beside = f"the lowest was {lowest.kl:.4f} at step {lowest.step:,}"
        stop = f"; stopped early, {lowest.since} measurements after it" if lowest.enough else ""
        return f"step {step:,}: held-out KL {found.kl:.4f}, {beside}{stop}"
