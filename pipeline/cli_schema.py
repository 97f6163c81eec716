"""`potstill schema`: JSON Schemas for editors and for other programs."""

import importlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec

MODELS = {
    "dump": ("stage1_teacher.settings", "DumpSettings"),
    "augment": ("stage1_teacher.augment_settings", "AugmentSettings"),
    "train": ("stage2_student.settings", "TrainSettings"),
    "evaluate": ("stage2_student.evaluate_settings", "EvaluateSettings"),
    "manifest": ("schemas.manifest", "Manifest"),
}


class SchemaSettings(BaseModel):
    """Of what."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    of: Literal["dump", "augment", "train", "evaluate", "manifest"] = Field(
        description="dump, augment, train or evaluate: the settings of that command, as YAML has "
        "them; manifest: a dump's manifest.json."
    )


def json_schema(of: str) -> dict[str, Any]:
    """The JSON Schema of a model of MODELS."""
    module, name = MODELS[of]
    model: type[BaseModel] = getattr(importlib.import_module(module), name)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(mode="validation"),
    }


def run(call: Call) -> int:
    """Prints the schema."""
    call.output.text(json.dumps(json_schema(call.settings.of), indent=2, ensure_ascii=False))
    return 0


SPEC = Spec(
    name="schema",
    help="Prints the JSON Schema of a command's settings, for editors, or of a dump's manifest.",
    examples=("potstill schema train > train.schema.json",),
    model=SchemaSettings,
    panels={},
    positional="of",
    run=run,
)
