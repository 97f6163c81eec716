"""What can be said to `potstill dataset import` and `export`: no heavy imports."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ConfigError
from schemas.licences import UNKNOWN


class ImportSettings(BaseModel):
    """Whose dump is converted, and what it does not say itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    path: str = Field(min_length=1, description="The foreign dump: a file, a folder or a URL.")
    out: str = Field(
        min_length=1, description="The new dump's folder; it appears when it is whole."
    )
    from_: Literal["auto", "distillkit", "axolotl", "megatron"] = Field(
        "auto", description="Whose layout it is; auto: found out."
    )
    tokenizer: str | None = Field(
        None,
        min_length=1,
        description="The teacher's tokenizer: a model folder. Without one no student can be "
        "trained, for nothing says what the ids mean.",
    )
    tokens: str | None = Field(
        None,
        min_length=1,
        description="Megatron only: the samples' tokens, .npy, Parquet or JSON lines, in the order "
        "in which Megatron read them.",
    )
    compression_config: str | None = Field(
        None,
        min_length=1,
        description="DistillKit only: the compression_config.yaml of the capture, where it does "
        "not lie beside the rows.",
    )
    teacher: str = Field("unknown", min_length=1, description="The teacher's name.")
    head_size: int | None = Field(
        None,
        ge=1,
        description="Logits per position of the teacher. Default: what the layout, else the "
        "tokenizer says.",
    )
    teacher_license: str | None = Field(None, min_length=1, description="The teacher's licence.")
    output_terms: str | None = Field(
        None, min_length=1, description="Terms of use of the teacher's outputs."
    )
    corpus_license: str | None = Field(None, min_length=1, description="The corpus's licence.")
    license: Literal["unknown"] | None = Field(
        None, description="`unknown`: go on although a licence is not known; the card shows it."
    )
    shard_size: int = Field(
        256, ge=1, description="Megabytes; a shard ends with the row group that reaches this."
    )

    def licenses(self) -> tuple[str, str]:
        """Those of teacher and corpus.

        Raises:
            ConfigError: one is not stated.
        """
        stated = (self.teacher_license or UNKNOWN, self.corpus_license or UNKNOWN)
        if UNKNOWN in stated and self.license is None:
            raise ConfigError(
                f"no layout of another system states licences; found teacher {stated[0]}, corpus "
                f"{stated[1]}. Give --teacher-license and --corpus-license, or --license unknown: "
                "the dataset card will show it in bold."
            )
        return stated


class ExportSettings(BaseModel):
    """Which dump goes to whom."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: str = Field(min_length=1, description="The dump: a folder or any fsspec URL.")
    to: Literal["axolotl"] = Field("axolotl", description="Whose layout to write.")
    out: str = Field(min_length=1, description="The Parquet file to write.")
