"""How a training watches what it does not train on: a part of `TrainSettings`. No torch."""

from pydantic import BaseModel, Field

from schemas.errors import ConfigError


class WatchSettings(BaseModel):
    """The KL on held-out rows, measured on the way."""

    eval_steps: int | None = Field(
        None,
        ge=1,
        description="Steps between two measurements of the KL on held-out rows. The checkpoint "
        "where it is lowest is kept and becomes the student. Default: never measured.",
    )
    eval_rows: int = Field(
        128, ge=1, description="Rows of --max-length that are measured, at most; always the same."
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop early when so many measurements in a row were no better than the best.",
    )

    def check_held_out(self, holdout: float) -> None:
        """Checks that there is something to measure on, and a reason to stop.

        Raises:
            ConfigError: there is not.
        """
        if self.eval_steps is not None and not holdout:
            raise ConfigError(
                f"eval_steps {self.eval_steps} measures on held-out rows, and holdout is 0. Give "
                "for example --holdout 0.05."
            )
        if self.patience is not None and self.eval_steps is None:
            raise ConfigError(
                f"patience {self.patience} counts measurements, and none is made. Give for example "
                "--eval-steps 200."
            )
