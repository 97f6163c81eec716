"""What a dump asks of a cluster. No ray."""

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.errors import ConfigError
from stage1_teacher.operating_settings import OperatingSettings

_OF_RAY = (
    *("cluster_workers", "cluster_most_workers", "gpus_per_worker", "cpus_per_worker"),
    "ray_address",
)


class ClusterSettings(OperatingSettings):
    """Workers that a cluster starts."""

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

    @model_validator(mode="after")
    def _ray(self) -> Self:
        given = [name for name in _OF_RAY if getattr(self, name) is not None]
        if self.cluster is None and given:
            flag = "--" + given[0].replace("_", "-")
            raise ConfigError(f"{flag} is of a cluster. Add --cluster ray, or leave it out.")
        if self.cluster is not None and self.worker is not None:
            raise ConfigError(
                "--worker is for workers that are started one by one, and Ray starts its own. "
                "Leave out one of --worker and --cluster."
            )
        most = self.cluster_most_workers
        if most is not None and most < (self.cluster_workers or 1):
            raise ConfigError(
                f"cluster_most_workers {most} is below cluster_workers {self.cluster_workers}. "
                "Give at least as many."
            )
        return self
