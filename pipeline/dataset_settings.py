"""What can be said to the `potstill dataset` commands that make a dump: no heavy imports."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_OUT = "The new dump's folder; it appears when it is whole."


class NewDumpSettings(BaseModel):
    """Where the new dump goes, and what of the old one goes into it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    out: str = Field(min_length=1, description=_OUT)
    shard_size: int = Field(
        256, ge=1, description="Megabytes; a shard ends with the row group that reaches this."
    )
    hidden: bool = Field(True, description="Keep hidden states, where there are some.")


class MergeSettings(NewDumpSettings):
    """Which dumps become one."""

    dumps: list[str] = Field(
        min_length=1,
        description="The dumps: folders, fsspec URLs or quoted patterns with *; the first one that "
        "has a sample gives it.",
        json_schema_extra={"verbatim": True},
    )
    first_wins: bool = Field(
        False,
        description="Where an id means different samples, keep the earlier dump's instead of "
        "refusing.",
    )


class ReshardSettings(NewDumpSettings):
    """Which dump is cut anew."""

    dump: str = Field(min_length=1, description="The dump: a folder or any fsspec URL.")


class SubsetSettings(NewDumpSettings):
    """Which rows of which dump."""

    dump: str = Field(min_length=1, description="The dump: a folder or any fsspec URL.")
    sources: list[str] = Field(
        [],
        description="Only rows of these sources, names or quoted patterns such as 'web/*'.",
    )
    ids: str | None = Field(
        None, min_length=1, description="Only these samples: a file with one id per line."
    )
    with_segments: list[str] = Field(
        [], description="Only rows that have a segment of each of these kinds, such as rationale."
    )
    verdicts: list[Literal["correct", "wrong", "unverified"]] = Field(
        [],
        description="Only rows whose answer was found correct or wrong, or that were not verified.",
    )
    min_tokens: int | None = Field(
        None, ge=1, description="Only sequences of at least so many tokens."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Only sequences of at most so many tokens."
    )
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Only this share of the documents, chosen by their ids: a larger share "
        "contains a smaller one, and windows of a text stay together.",
    )


class ReencodeSettings(NewDumpSettings):
    """Which dump, and how little of it is kept per position."""

    dump: str = Field(min_length=1, description="The dump: a folder or any fsspec URL.")
    min_prob: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keep entries of at least this probability. Default: as the dump.",
    )
    top_k: int | None = Field(
        None, ge=1, description="Keep at most so many entries. Default: as the dump."
    )
    tail_samples: int | None = Field(
        None,
        ge=0,
        description="Draws per unit of probability outside the kept entries: the dump's divided by "
        "a whole number, or 0. Default: as the dump.",
    )
    temperatures: list[float] = Field(
        [], description="Temperatures kept, of those that the dump holds. Default: all."
    )
    compact: bool = Field(
        False,
        description="The compact profile: ids as ranks by frequency and slower compression. The "
        "same numbers in fewer bytes; strangers need the table ids.npy to read its ids.",
    )


class PushSettings(BaseModel):
    """Which dump goes where."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: str = Field(min_length=1, description="The dump: a folder on this machine.")
    to: str = Field(
        min_length=1,
        description="Where to: any fsspec URL, such as s3://bucket/dump, or "
        "hf://datasets/OWNER/NAME on the Hub.",
    )
    private: bool = Field(True, description="A repository that is made on the Hub is private.")


class PullSettings(BaseModel):
    """Which dump comes here."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: str = Field(min_length=1, description="The dump: any fsspec URL, hf://datasets/… too.")
    out: str = Field(min_length=1, description="The folder on this machine.")
    expect: str | None = Field(
        None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="The identity that the dump must have.",
    )


class DiffSettings(BaseModel):
    """Which two dumps are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dumps: list[str] = Field(
        min_length=1,
        description="The two dumps: folders or any fsspec URLs.",
        json_schema_extra={"verbatim": True},
    )
