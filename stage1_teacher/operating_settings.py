"""How a dump is run, not what is in it: failures, interruptions, a cluster. No torch."""

import re
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from schemas.errors import ConfigError

_BUDGET = re.compile(r"^(?P<number>\d+(\.\d+)?)(?P<percent>%?)$")
_OF_RAY = (
    *("cluster_workers", "cluster_most_workers", "gpus_per_worker", "cpus_per_worker"),
    "ray_address",
)


class OperatingSettings(BaseModel):
    """What may differ between two runs of the same dump."""

    max_failed: str = Field(
        "0",
        description="Samples that may fail before the dump gives up: a number, or a share of the "
        "corpus's rows such as 0.1%. Those that fail are set aside, the reason in a file, and the "
        "dump ends with exit code 4.",
    )
    grace: float = Field(
        20.0,
        ge=0,
        description="Seconds after SIGTERM: a unit that can be finished in them is, another is "
        "dropped; at their end the program stops wherever it is.",
    )
    cluster: Literal["ray"] | None = Field(
        None, description="Spread the units over the actors of a Ray cluster."
    )
    cluster_workers: int | None = Field(
        None, ge=1, description="Ray actors, each with a teacher of its own. Default: 1."
    )
    cluster_most_workers: int | None = Field(
        None, ge=1, description="Let Ray start up to so many actors as the cluster grows."
    )
    gpus_per_worker: float | None = Field(
        None,
        ge=0,
        description="GPUs of one actor; fractions share one. Default: 1 where the cluster has "
        "GPUs.",
    )
    cpus_per_worker: float | None = Field(
        None, gt=0, description="CPU cores of one actor. Default: 1."
    )
    ray_address: str | None = Field(
        None,
        description="Join the Ray cluster at this address. Default: a cluster of this machine "
        "alone, for this run, without a dashboard.",
    )

    @field_validator("max_failed", mode="before")
    @classmethod
    def _budget(cls, given: object) -> str:
        text = str(given).replace(" ", "")
        found = _BUDGET.match(text)
        whole = found is not None and (found["percent"] or float(found["number"]).is_integer())
        if not whole or (text.endswith("%") and float(text[:-1]) > 100):
            raise ConfigError(
                f"max_failed is a number of samples or a share of the rows; found {given}. "
                "Give for example --max-failed 20 or --max-failed 0.1%."
            )
        return text

    @model_validator(mode="after")
    def _ray(self) -> Self:
        given = [name for name in _OF_RAY if getattr(self, name) is not None]
        if self.cluster is None and given:
            flag = "--" + given[0].replace("_", "-")
            raise ConfigError(f"{flag} is of a cluster. Add --cluster ray, or leave it out.")
        most = self.cluster_most_workers
        if most is not None and most < (self.cluster_workers or 1):
            raise ConfigError(
                f"cluster_most_workers {most} is below cluster_workers {self.cluster_workers}. "
                "Give at least as many."
            )
        return self

    def allowed_failures(self, rows: int) -> int:
        """Samples that may be set aside in a dump of a corpus of so many rows."""
        if self.max_failed.endswith("%"):
            return int(rows * float(self.max_failed[:-1]) / 100)
        return int(float(self.max_failed))

    @property
    def tolerant(self) -> bool:
        """Whether any sample may fail."""
        return float(self.max_failed.rstrip("%")) > 0
