"""Where a student comes from: a local model folder, or a hub name brought into the hub's cache."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ModelError

_NAME = re.compile(r"^[\w-][\w.-]*(/[\w.-]+)?$")
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.py", "README.md"]
_CONFIGS = ("config.json", "adapter_config.json")
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint that a student is made of.

    Attributes:
        folder: where its files are.
        name: its hub name, or its folder's own name.
        license: as its model card says, or None.
    """

    folder: Path
    name: str
    license: str | None


def locate_student(model: str) -> Source:
    """The checkpoint's folder; a hub name is downloaded unless it is in the cache.

    Raises:
        ModelError: there is no such folder and no such name on the hub, or it holds no model.
    """
    path = Path(model).expanduser()
    if path.is_file():
        raise ModelError(f"{path} is a file and a student is a folder. Give the folder it lies in.")
    local = path.is_dir()
    folder = path if local else _from_hub(model)
    if not any((folder / name).is_file() for name in _CONFIGS):
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:_SHOWN]) or "nothing"
        raise ModelError(
            f"{folder} is no model folder: it has no config.json; found {found}. Give the folder "
            "that save_pretrained wrote."
        )
    name = folder.resolve().name if local else model
    return Source(folder=folder, name=name, license=model_license(folder))


def nearest_path(name: str) -> str:
    """What to do about a path that does not exist: the neighbour that was probably meant."""
    path = Path(name).expanduser()
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent, path = parent.parent, parent
    close = difflib.get_close_matches(path.name, [p.name for p in parent.iterdir()], n=1)
    return f"Did you mean {parent / close[0]}?" if close else ""


def _from_hub(name: str) -> Path:
    advice = nearest_path(name) or (
        "Give a model folder, or a name on the hub such as HuggingFaceTB/SmolLM2-135M."
    )
    if not _NAME.match(name):
        raise ModelError(f"no student at {name}: there is no such folder. {advice}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"no student {name}: there is no such folder, and the hub says: {reason} {advice}"
        ) from error


def model_license(folder: Path) -> str | None:
    """The licence in the front matter of a folder's model card, or None."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    from huggingface_hub import ModelCard

    data = ModelCard(card.read_text("utf-8", "replace"), ignore_metadata_errors=True).data
    name = data.get("license_name") if data.license == "other" else data.license
    return str(name) if name else None
