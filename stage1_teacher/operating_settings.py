"""How a dump is run, not what is in it: failures, interruptions, several workers. No torch."""

import re
from decimal import Decimal

from pydantic import BaseModel, Field, field_validator

from schemas.errors import ConfigError
from stage1_teacher.commit_share import Share

_BUDGET = re.compile(r"^(?P<number>\d+(\.\d+)?)(?P<percent>%?)$")


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
    worker: str | None = Field(
        None,
        description="Which of several workers this is, such as 2/8: where it begins; on a store "
        "that cannot create a file only if it is absent, the units that it keeps to.",
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

    def allowed_failures(self, rows: int) -> int:
        """Samples that may be set aside in a dump of a corpus of so many rows."""
        if self.max_failed.endswith("%"):
            return int(rows * Decimal(self.max_failed[:-1]) / 100)
        return int(float(self.max_failed))

    @field_validator("worker")
    @classmethod
    def _share(cls, worker: str | None) -> str | None:
        if worker is not None:
            Share.parse(worker)
        return worker

    @property
    def share(self) -> Share:
        """The worker's share of the units; all of them unless it is told."""
        return Share() if self.worker is None else Share.parse(self.worker)

    @property
    def tolerant(self) -> bool:
        """Whether any sample may fail."""
        return float(self.max_failed.rstrip("%")) > 0
