"""A student from scratch: its configuration from a file, its weights from a seed."""

import difflib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import ConfigError, ModelError
from schemas.manifest import Tokenizer
from stage2_student.student_source import nearest_path

_ALWAYS = {"architectures", "dtype", "torch_dtype", "transformers_version", "auto_map"}


def read_config_file(path: Path, tokenizer: Tokenizer) -> Any:
    """The transformers configuration in a config.json or a YAML file of its fields.

    Where the file does not say otherwise, the head is as wide as the teacher's, and the ids of the
    special tokens are those of the dump's tokenizer.

    Raises:
        ModelError: there is no such file, or no such kind of model.
        ConfigError: the file is no mapping, or has a key that the kind of model does not know.
    """
    from huggingface_hub.errors import StrictDataclassError

    fields = _fields(path)
    kind = fields.pop("model_type", None)
    config_class = _config_class(path, kind)
    if path.suffix != ".json":
        known = config_class().to_dict()
        _check_keys(path, fields, known)
        fields = {name: _number(value, known.get(name)) for name, value in fields.items()}
    try:
        return config_class(**{**_of_dump(tokenizer), **fields})
    except (TypeError, ValueError, KeyError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is no configuration of a {kind} model: {reason}") from error


def _fields(path: Path) -> dict[str, Any]:
    if not path.is_file():
        advice = nearest_path(str(path)) or "Check the path."
        raise ModelError(f"no student configuration at {path}. {advice}")
    read = json.loads if path.suffix == ".json" else yaml.safe_load
    try:
        found = read(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is neither JSON nor YAML: {error}. Correct it.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no keys with values; found {str(found)[:60]!r}.")
    return {str(key): value for key, value in found.items()}


def _config_class(path: Path, kind: Any) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return CONFIG_MAPPING[kind]
    close = difflib.get_close_matches(str(kind), list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES), n=1)
    advice = f"Did you mean {close[0]}?" if close else "Give for example model_type: llama."
    found = "no model_type" if kind is None else f"the model_type {kind!r}"
    raise ModelError(f"{path} has {found}, which is no causal language model. {advice}")


def _check_keys(path: Path, fields: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """YAML is what people write; a config.json may carry keys of the program that wrote it."""
    unknown = [key for key in fields if key not in known and key not in _ALWAYS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], list(known), n=1)
        advice = f"Did you mean {close[0]}?" if close else "Leave it out."
        raise ConfigError(f"{path}: this kind of model has no {unknown[0]!r}. {advice}")


def _number(value: Any, default: Any) -> Any:
    """YAML 1.1 takes 1e-6 for a word, since it has no point."""
    if isinstance(value, str) and isinstance(default, float):
        with suppress(ValueError):
            return float(value)
    return value


def _of_dump(tokenizer: Tokenizer) -> dict[str, Any]:
    special = {
        f"{name.removesuffix('_token')}_token_id": number
        for name, number in tokenizer.special_tokens.items()
        if name in ("bos_token", "eos_token", "pad_token")
    }
    return {"vocab_size": tokenizer.head_size, **special}
