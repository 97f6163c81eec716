"""Where a teacher lies: a local folder, or a hub name brought into the hub's cache. No torch."""

import difflib
import hashlib
import re
from pathlib import Path

from schemas.errors import ModelError

_NAME = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.py", "README.md"]
_CHUNK = 1 << 20


def locate_teacher(model: str | Path, revision: str | None = None) -> Path:
    """The folder with the model's files; a hub name is downloaded unless it is in the cache.

    Raises:
        ModelError: there is no such folder and no such name on the hub, or it holds no model.
    """
    path = Path(model).expanduser()
    if path.is_file():
        raise ModelError(_is_file(path))
    if not path.is_dir():
        path = _from_hub(str(model), revision)
    if not (path / "config.json").is_file():
        found = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise ModelError(
            f"{path} is no model folder: it has no config.json; found {found}. "
            "Give the folder that save_pretrained wrote."
        )
    return path


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, by name: safetensors, else PyTorch's own.

    Raises:
        ModelError: there are none.
    """
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ModelError(
            f"{folder} has a config.json but no weights (*.safetensors). Copy or download the "
            "weights into it; a GGUF file becomes a model folder by `potstill export-gguf`."
        )
    return files


def weights_fingerprint(folder: Path) -> str:
    """`sha256:<hex>` over the content of the weight files in the order of their names."""
    total = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    return f"sha256:{total.hexdigest()}"


def model_license(folder: Path) -> str | None:
    """The licence in the front matter of the folder's model card, or None."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    from huggingface_hub import ModelCard

    data = ModelCard(card.read_text(errors="replace"), ignore_metadata_errors=True).data
    name = data.get("license_name") if data.license == "other" else data.license
    return str(name) if name else None


def _is_file(path: Path) -> str:
    if path.suffix == ".gguf":
        return (
            f"{path} is a GGUF file and potstill reads model folders. "
            "Make one of it with `potstill export-gguf`."
        )
    return f"{path} is a file and a teacher is a folder. Give the folder it lies in."


def _from_hub(name: str, revision: str | None) -> Path:
    if not _NAME.match(name) or name.startswith("."):
        raise ModelError(f"no teacher at {name}: there is no such folder. {_nearest(name)}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        where = f"{name} at revision {revision}" if revision else name
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"no teacher {where}: there is no such folder, and the hub says: {reason} "
            f"{_nearest(name)}"
        ) from error


def _nearest(name: str) -> str:
    """What to do next: the folder that was probably meant."""
    path = Path(name).expanduser()
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent, path = parent.parent, parent
    folders = [p.name for p in parent.iterdir() if p.is_dir()]
    close = difflib.get_close_matches(path.name, folders, n=1)
    if close:
        return f"Did you mean {parent / close[0]}?"
    return "Give a model folder, or a name on the hub such as HuggingFaceTB/SmolLM2-135M."
