"""The model card of a student: README.md, what it was made of and under which terms."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from schemas.licences import is_unknown, joint_conditions
from schemas.manifest import Manifest
from stage2_student.licences import stated_for
from stage2_student.provenance import provenance
from stage2_student.settings import TrainSettings
from stage2_student.student import Student
from stage2_student.task_settings import task_prefixes

TAGS = ["knowledge-distillation", "potstill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a training came to.

    Attributes:
        loss: what was minimised, layers and projectors as they were in the end.
        steps: optimizer steps.
        tokens: tokens seen.
        weights: which ones were taken; empty for those of the last step.
        created_by: program and version.
    """

    loss: str
    steps: int
    tokens: int
    weights: str
    created_by: str


def model_card(settings: TrainSettings, dumps: Sequence[Any], student: Student, made: Made) -> str:
    """README.md: front matter through huggingface_hub, the body from card.md.jinja.

    Args:
        settings: of the training.
        dumps: the `DumpFolder`s that were read.
        student: what was trained.
        made: what it came to.
    """
    from huggingface_hub import ModelCard, ModelCardData

    manifests = [dump.manifest for dump in dumps]
    conditions = joint_conditions(stated_for(dumps, student.source))
    card = ModelCard.from_template(
        ModelCardData(**_front_matter(settings, student, manifests, conditions.license)),
        template_str=files(__package__).joinpath("card.md.jinja").read_text("utf-8"),
        title=f"A student of {manifests[0].teacher.name}",
        teacher=manifests[0].teacher,
        corpora=" and ".join(dict.fromkeys(m.corpus.name for m in manifests)),
        base=student.source and student.source.name,
        layers=settings.student_layers,
        parameters=student.model.num_parameters(),
        dumps=provenance(dumps),
        loss=made.loss,
        tasks=", ".join(settings.tasks),
        prefixes=task_prefixes(settings.task_prefixes),
        lora_rank=settings.lora_rank,
        dora=settings.dora,
        adapter=settings.keep_adapter,
        steps=made.steps,
        tokens=made.tokens,
        weights=made.weights,
        created_by=made.created_by,
        conditions=conditions,
        is_unknown=is_unknown,
    )
    return str(card)


def _front_matter(
    settings: TrainSettings, student: Student, manifests: Sequence[Manifest], license: str
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "library_name": "peft" if settings.keep_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": [*TAGS, f"teacher:{manifests[0].teacher.name}"],
        "license": license,
    }
    return found if student.source is None else {**found, "base_model": student.source.name}
