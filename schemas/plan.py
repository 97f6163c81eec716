"""What a dump will hold (plan.json) and what of it is done (one commit record per unit)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.manifest import Count, Setting, Settings, Sha256, Shard, Strict, digest, plan_identity
from schemas.storage import StoreClass

RowRange = tuple[Count, Count]
"""Half-open range of corpus rows."""


class Sealed(Strict):
    """A file of JSON that notices when a bit of it was changed.

    `checksum` is the hash over everything else; files from before there was one have none.
    """

    checksum: Sha256 | None = None

    def sealed(self) -> Self:
        """The same with its checksum."""
        return self.model_copy(update={"checksum": self._sum()})

    def _sum(self) -> str:
        return digest(self.model_dump(mode="json", exclude={"checksum"}))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.checksum is not None and self.checksum != self._sum():
            raise ValueError("it was altered: it does not hash to its checksum")
        return self


class Plan(Sealed):
    """plan.json: created once, before any unit, by whichever worker is first.

    `units[u]` is the half-open range of corpus rows that unit u covers; the ranges follow each
    other without a gap. `nonce` tells two dumps with the same settings apart. `plan` is the hash
    over `settings`. `engine_options` are what this worker gave its engine besides; another worker's
    may differ.
    """

    settings: Settings
    plan: Sha256
    units: list[RowRange]
    store_class: StoreClass | Literal["create-if-absent"]
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    created_by: str
    engine_options: dict[str, Setting] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "Plan":
        if self.plan != plan_identity(self.settings):
            raise ValueError("plan is not the hash over settings")
        ends = [0, *(end for _, end in self.units)]
        for end, (start, stop) in zip(ends, self.units, strict=False):
            if start != end or stop <= start:
                raise ValueError(f"unit of rows {start} to {stop} does not follow row {end}")
        return self


class CommitRecord(Sealed):
    """The one record that commits a unit; its existence makes the shard part of the dump.

    `write_id` is unique to the attempt, so that a worker whose answer was lost recognises its own
    record when it reads it back.
    """

    unit: Count
    shard: Shard
    write_id: Annotated[str, Field(pattern=r"^[0-9a-f]+$")]

    @model_validator(mode="after")
    def _consistent(self) -> "CommitRecord":
        if self.shard.unit != self.unit:
            raise ValueError(f"the record of unit {self.unit} names a shard of {self.shard.unit}")
        return self
