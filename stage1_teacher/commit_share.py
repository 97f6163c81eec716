"""A worker's share of the units: which it begins with, or keeps to where nothing else is safe."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import ConfigError

_TEXT = re.compile(r"^(?P<number>[1-9]\d*)/(?P<count>[1-9]\d*)$")


@dataclass(frozen=True, slots=True)
class Share:
    """Worker `number` of `count`, counted from 1; the first one finishes the dump."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Share":
        """`2/8` as a share.

        Raises:
            ConfigError: it is none.
        """
        match = _TEXT.match(text)
        share = cls(int(match["number"]), int(match["count"])) if match else None
        if share is None or share.number > share.count:
            raise ConfigError(
                f"--worker is a number of workers, such as 2/8 for the second of eight; found "
                f"{text!r}. Count from 1."
            )
        return share

    @property
    def finishes(self) -> bool:
        """Whether this worker is the one that finishes the dump."""
        return self.number == 1

    def of(self, units: Sequence[int]) -> list[int]:
        """The units of this share."""
        return [unit for unit in units if unit % self.count == self.number - 1]

    def first(self, units: Sequence[int]) -> list[int]:
        """All units, beginning where this share of them begins."""
        start = len(units) * (self.number - 1) // self.count
        return [*units[start:], *units[:start]]
