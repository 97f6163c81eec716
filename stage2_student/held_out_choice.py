"""What a student is measured on: rows that its own training left out, read as it read them."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from schemas.dump_folder import DumpFolder
from schemas.errors import ConfigError
from stage2_student.evaluate_settings import EvaluateSettings

log = logging.getLogger(__name__)

_ADVICE = (
    "Give --holdout SHARE with the share that was left out of training, or --rows all for a dump "
    "that the student was not trained on."
)


def held_out_share(settings: EvaluateSettings, dumps: Sequence[DumpFolder]) -> float:
    """The share of the documents that is held out; of no meaning for `--rows all`.

    Raises:
        ConfigError: it is neither given nor written in the student's folder, or was 0.
    """
    seen = _trained_on(Path(settings.student)) & {dump.manifest.identity for dump in dumps}
    if settings.rows == "all":
        if seen:
            log.warning(
                "the student was trained on this dump: over all of its rows it looks better than "
                "it is. Take --rows held-out, or another dump."
            )
        return 1.0
    if settings.holdout is not None:
        return settings.holdout
    return _of_training(Path(settings.student), bool(seen))


def as_trained(settings: EvaluateSettings) -> EvaluateSettings:
    """With the tasks of the student's own training, where none are given."""
    run = _yaml(Path(settings.student) / "run.yaml")
    if settings.tasks or not run.get("tasks"):
        return settings
    tasks = {name: run.get(name, []) for name in ("tasks", "task_prefixes")}
    return EvaluateSettings.model_validate({**settings.model_dump(), **tasks})


def _of_training(folder: Path, seen: bool) -> float:
    if not seen:
        raise ConfigError(
            f"which rows are held out is not known: {folder} does not say that it was trained on "
            f"this dump. {_ADVICE}"
        )
    share = float(_yaml(folder / "run.yaml").get("holdout") or 0)
    if share <= 0:
        raise ConfigError(
            f"the student in {folder} was trained on every row of this dump (holdout 0), so "
            "nothing of it can tell how good it is. Evaluate it on another dump with --rows all, "
            "or train with --holdout 0.05."
        )
    return share


def _trained_on(folder: Path) -> set[str]:
    try:
        found = json.loads((folder / "dump.json").read_text("utf-8"))
    except (OSError, ValueError):
        return set()
    dumps = found if isinstance(found, list) else []
    return {str(dump.get("identity")) for dump in dumps if isinstance(dump, dict)}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
