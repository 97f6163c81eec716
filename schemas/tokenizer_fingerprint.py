"""A tokenizer's identity: a hash over everything in its tokenizer.json that decides token ids.

Two tokenizers with the same fingerprint give the same ids for the same text and name the same
tokens by the same ids. What frameworks rewrite at every save (versions, order, padding, truncation,
offsets, the decoder) is left out, and so is the post-processor: a dump stores ids with the special
tokens in them. Needs only the standard library.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import ModelError

FILE = "tokenizer.json"
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
_NO_EFFECT = frozenset({"trim_offsets"})


def tokenizer_fingerprint(text: str | bytes) -> str:
    """`sha256:<hex>` of the content of a tokenizer.json.

    Raises:
        ModelError: it is no tokenizer.json.
    """
    try:
        content = json.loads(text)
        identity = {
            "model": _model(content["model"]),
            "added_tokens": sorted(_added(token) for token in content.get("added_tokens") or ()),
            "normalizer": _canonical(content.get("normalizer")),
            "pre_tokenizer": _canonical(content.get("pre_tokenizer")),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"a tokenizer.json cannot be read ({type(error).__name__}: {error}). "
            "Take a fresh copy of the tokenizer."
        ) from error
    form = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(form.encode()).hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """The fingerprint of the tokenizer in a model folder.

    Raises:
        ModelError: there is no tokenizer.json in it, or a broken one.
    """
    path = folder / FILE
    if not path.is_file():
        raise ModelError(
            f"{folder} has no {FILE}, so its tokenizer cannot be compared. Load the tokenizer with "
            "transformers and save it there with save_pretrained."
        )
    return tokenizer_fingerprint(path.read_bytes())


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Merges were written as "a b" once and as ["a", "b"] now; unset fields come and go."""
    found = {name: value for name, value in model.items() if value not in (None, "", False)}
    if "merges" in model:
        found["merges"] = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    return found


def _added(token: Mapping[str, Any]) -> list[Any]:
    return [token["id"], token["content"], *(bool(token.get(flag)) for flag in _FLAGS)]


def _canonical(step: Any) -> Any:
    if isinstance(step, Mapping):
        return {k: _canonical(value) for k, value in step.items() if k not in _NO_EFFECT}
    return [_canonical(value) for value in step] if isinstance(step, list) else step
