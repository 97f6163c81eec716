"""Everything a user can say to `potstill train`: one pydantic model, no torch.

The command line, the YAML keys, the environment variables and their documentation are generated
from the fields below, so a field's name is the word that users type.
"""

from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from schemas.errors import ConfigError
from stage2_student.cache_settings import CacheSettings
from stage2_student.curriculum import check_curriculum, check_weights
from stage2_student.kind_weights import kind_weights
from stage2_student.machine_settings import MachineSettings
from stage2_student.optimizer_settings import OptimizerSettings
from stage2_student.row_settings import RowSettings
from stage2_student.task_settings import TaskSettings
from stage2_student.tuning_settings import TuningSettings
from stage2_student.watch_settings import WatchSettings


class TrainSettings(
    CacheSettings,
    MachineSettings,
    OptimizerSettings,
    RowSettings,
    TaskSettings,
    TuningSettings,
    WatchSettings,
):
    """What to train, from which dumps, how long, and where to."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: list[str] = Field(
        min_length=1,
        description="Dumps to train from: folders, fsspec URLs or quoted patterns with *. Several "
        "are read as one.",
    )
    student: str | None = Field(
        None, min_length=1, description="The student to start from: a model folder or a hub name."
    )
    student_layers: list[int] = Field(
        [],
        description="Keep only these layers of --student, counted from 0: a smaller student carved "
        "out of a checkpoint.",
    )
    student_config: str | None = Field(
        None,
        min_length=1,
        description="A student from scratch: the config.json of any causal language model, or a "
        "YAML file with the fields that matter (model_type, hidden_size, …).",
    )
    out: str = Field(min_length=1, description="The student's folder.")
    resume: bool = Field(
        False,
        description="Go on from the last checkpoint in --out; without one, begin. Figures and "
        "weights become those of a run that was never interrupted.",
    )

    loss: str | list[str | dict[str, str | int | float]] = Field(
        "fkl",
        min_length=1,
        description="What compares student and teacher: fkl, rkl, jsd, skew_fkl, skew_rkl, tvd, "
        "logit_mse or ce; hidden_mse, hidden_cosine or hidden_normalised, where the dump holds "
        "hidden states; or a sum such as '0.9*fkl(temperature=2) + 0.1*ce' or "
        "'fkl + hidden_cosine(layers=4:10)'; in YAML also a list of terms.",
    )
    temperature: float | None = Field(
        None,
        gt=0,
        description="Softens both models; the dump must hold it (dump --temperatures). In a sum it "
        "holds for the terms that name none. Default: 1.",
    )
    tail: Literal["sample", "bucket", "none", "renormalise"] | None = Field(
        None,
        description="What becomes of the teacher's probability outside the kept entries. Default: "
        "what serves the loss best, sample for most.",
    )
    ce_weight: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of cross-entropy on the realised tokens beside a single --loss; in a "
        "sum write a term ce instead. Default: 0.",
    )
    ce_warmup_steps: int = Field(
        0,
        ge=0,
        description="Steps at the beginning in which cross-entropy on the realised tokens is all "
        "that is minimised; then --loss.",
    )
    token_weights: list[str] = Field(
        [],
        description="Weights in the loss by the kind of segment that a token is in, such as "
        "answer=2,rationale=0.5; other kinds weigh 1.",
    )
    weigh_by: Literal["none", "entropy", "confidence"] = Field(
        "none",
        description="Weigh positions by the teacher, too: by the entropy of what it expects (more "
        "where it is unsure), or by its largest probability (more where it is sure).",
    )
    wrong_weight: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of rows whose answer was verified to be wrong; 0 leaves them out of "
        "the loss.",
    )
    train_on: list[str] = Field(
        [],
        description="Kinds of segments that are trained on, such as response; default: every "
        "captured position.",
    )

    dump_weights: list[float] = Field(
        [],
        description="Share of the tokens that each dump gets, in the order of --dump and in any "
        "unit, such as 3,1. Default: the dumps as they are.",
    )
    mix_temperature: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Temperature sampling of the sources: their shares go with their tokens to "
        "the power 1/temperature, so above 1 small sources are seen more often.",
    )
    max_passes: int | None = Field(
        None,
        ge=1,
        description="No source (with --dump-weights: no dump) is passed over more often; then the "
        "others go on without it.",
    )
    curriculum: list[str] = Field(
        [],
        description="What the first steps read instead, in phases such as 'until=1000 "
        "max_tokens=256' or 'until=5000 dump_weights=3:1', one after the other; repeat the option.",
    )

    steps: int | None = Field(None, ge=1, description="Optimizer steps. Default: --epochs.")
    epochs: int | None = Field(
        None, ge=1, description="Passes over the dumps, instead of --steps. Default: 1."
    )
    batch_size: int = Field(8, ge=1, description="Rows of a forward pass, per device.")
    max_length: int | None = Field(
        None, ge=2, description="Tokens of a row. Default: the longest sequence of the dumps."
    )
    grad_accumulation: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    packing: bool = Field(
        True,
        description="Several documents in a row; none sees another. Off: one each, padded.",
    )
    holdout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the documents that is never trained on; the evaluation uses these.",
    )

    seed: int = Field(0, ge=0, description="Of data order, initial weights and dropout.")

    save_steps: int = Field(200, ge=0, description="Steps between checkpoints; 0: none.")
    keep_checkpoints: int = Field(2, ge=1, description="Checkpoints kept, the newest ones.")
    log_steps: int = Field(10, ge=1, description="Steps between two lines of train_log.jsonl.")
    report_to: list[str] = Field(
        [], description="Also log to these trackers, such as tensorboard. Default: none."
    )
    expect_dump: list[str] = Field(
        [],
        description="Identities (sha256:…) that the dumps must have, in their order; otherwise the "
        "training refuses to begin.",
    )
    forbid_license: list[str] = Field(
        [],
        description="Refuse dumps and students under these licences: names or quoted patterns such "
        "as 'cc-by-nc*', or what a licence asks for: unknown, noncommercial, share-alike, "
        "no-derivatives, attribution, naming, no-training.",
    )
    dump_chat_template: bool = Field(
        False,
        description="A student from scratch takes the chat template of the dump, which is a "
        "program in a file from elsewhere. Off unless you read it.",
    )
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the student. Off unless you read it."
    )

    @field_validator("token_weights")
    @classmethod
    def _kinds_and_numbers(cls, weights: list[str]) -> list[str]:
        kind_weights(weights)
        return weights

    @field_validator("dump_weights")
    @classmethod
    def _shares(cls, weights: list[float]) -> list[float]:
        check_weights(weights)
        return weights

    @field_validator("student_layers")
    @classmethod
    def _ascending(cls, layers: list[int]) -> list[int]:
        if layers != sorted(set(layers)) or any(layer < 0 for layer in layers):
            raise ConfigError(
                f"student_layers are different layer numbers from 0, ascending; found {layers}. "
                "Give for example --student-layers 0,6,12."
            )
        return layers

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_student()
        self.check_tuning(self.student, self.student_layers)
        if self.steps is not None and self.epochs is not None:
            raise ConfigError(
                f"the length of the training is given twice: steps {self.steps} and epochs "
                f"{self.epochs}. Leave one of them out."
            )
        if self.steps is not None:
            self.check_steps(self.steps)
        self.check_held_out(self.holdout)
        self._check_mixture()
        return self

    def _check_student(self) -> None:
        if (self.student is None) == (self.student_config is None):
            found = "neither" if self.student is None else "both"
            raise ConfigError(
                f"a student starts from a checkpoint or from scratch; found {found}. Give "
                "--student (a folder or a hub name) or --student-config (a file)."
            )
        if self.student_layers and self.student is None:
            raise ConfigError(
                "student_layers are layers of a checkpoint; found them with student_config. Give "
                "the checkpoint with --student, or set num_hidden_layers in the configuration."
            )

    def _check_mixture(self) -> None:
        if self.dump_weights and self.mix_temperature is not None:
            raise ConfigError(
                "dump_weights and mix_temperature both say how often data is read. Leave one of "
                "them out."
            )
        check_curriculum(self.curriculum, self.steps, self.max_passes)
