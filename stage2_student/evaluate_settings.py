"""Everything a user can say to `potstill evaluate`: one pydantic model, no torch.

The command line, the YAML keys, the environment variables and their documentation are generated
from the fields below, so a field's name is the word that users type.
"""

from typing import Literal

from pydantic import ConfigDict, Field

from stage2_student.cache_settings import CacheSettings
from stage2_student.row_settings import RowSettings
from stage2_student.task_settings import TaskSettings


class EvaluateSettings(CacheSettings, RowSettings, TaskSettings):
    """Which student is measured, and on what."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    student: str = Field(
        min_length=1, description="The student: a model folder or a name on the hub."
    )
    dump: list[str] = Field(
        min_length=1,
        description="Dumps to measure on: folders, fsspec URLs or quoted patterns with *.",
    )
    out: str | None = Field(
        None,
        min_length=1,
        description="Folder that evaluation.json is written to. Default: the student's.",
    )
    rows: Literal["held-out", "all"] = Field(
        "held-out",
        description="held-out: the rows that training left out; all: every row, for a dump that "
        "the student was not trained on.",
    )
    holdout: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the documents that is held out. Default: what the student's own "
        "run.yaml says.",
    )
    batch_size: int = Field(4, ge=1, description="Rows of a forward pass.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="The student's weights and activations; sums are always float32."
    )
    device: str = Field("auto", description="Where the student runs: auto, cpu, cuda, cuda:1, ….")
    disagreements: int = Field(
        20, ge=0, description="How many of the worst disagreements with the teacher are kept."
    )
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the student. Off unless you read it."
    )
