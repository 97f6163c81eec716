"""Whether a loss that changes over the steps fits the length of its training."""

from schemas.errors import ConfigError
from stage2_student.objective import Objective


def check_schedules(objective: Objective, steps: int) -> None:
    """Checks weights that change over the steps against the length of the training.

    Raises:
        ConfigError: one needs more steps, or all are 0 at some step.
    """
    if objective.ce_warmup >= steps:
        raise ConfigError(
            f"ce_warmup_steps is {objective.ce_warmup} and the training has {steps} steps: nothing "
            "would be learned from the teacher. Give fewer, or more --steps or --epochs."
        )
    schedules = [term.schedule for term in objective.summands if term.schedule]
    for schedule in schedules:
        schedule.check(steps)
    for step in sorted({step for schedule in schedules for step in schedule.corners(steps)}):
        if step >= objective.ce_warmup and not any(
            term.weight_at(step, steps) for term in objective.summands
        ):
            raise ConfigError(
                f"all weights of the loss are 0 at step {step + 1}: {objective.written}. Let one "
                "of them begin before the others end."
            )
