"""Any GGUF file becomes an ordinary model folder, in bfloat16: whole, or not at all."""

import io
import json
import shutil
import uuid
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from schemas.errors import ConflictError, ModelError
from schemas.progress import Progress, Report, ignore
from stage1_teacher.gguf_header import GgufHeader, Value, read_header
from stage1_teacher.gguf_tokenizer import restore
from stage1_teacher.tokenizer import cleaned_config

ORIGIN = "exported_from.json"
"""Stands in an exported folder and says which GGUF it was made of."""

_CARD = """# {name}

An ordinary model folder, weights in bfloat16, made from the GGUF file `{file}` by
`potstill export-gguf`. The weights were dequantised: they hold what the file held, rounded as its
quantisation rounded them.
"""


def export_gguf(gguf: Path, out: Path, report: Report = ignore) -> None:
    """Writes config, weights, tokenizer and model card to `out`; an earlier export is left as is.

    Raises:
        ModelError: the file is missing, no GGUF, without weights, or of an unknown architecture.
        ConflictError: `out` holds something else.
    """
    header = read_header(gguf)
    if not header.tensors:
        raise ModelError(
            f"{gguf} holds a vocabulary and no weights. Give the GGUF file of the whole model."
        )
    origin = {"gguf": gguf.name, "bytes": gguf.stat().st_size}
    if _finished(out, origin):
        return
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex}.part")
    try:
        part.mkdir(parents=True)
        _export(gguf, part, header, report)
        (part / ORIGIN).write_text(json.dumps(origin) + "\n")
        part.rename(out)
    except PermissionError as error:
        raise ModelError(
            f"no permission to write to {out.parent}. Choose another --out."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _finished(out: Path, origin: dict[str, Any]) -> bool:
    """Whether the same export stands there already."""
    path = out / ORIGIN
    if path.is_file() and json.loads(path.read_text()) == origin:
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConflictError(
            f"{out} exists and is no export of {origin['gguf']}. "
            "Remove it, or choose another --out."
        )
    return False


def _export(gguf: Path, out: Path, header: GgufHeader, report: Report) -> None:
    values = header.values
    report(Progress(stage="export", message=f"reading the weights of {gguf.name}"))
    model = _load_model(gguf)
    model.config._name_or_path = ""
    context = getattr(model.config, "max_position_embeddings", None)
    with redirect_stderr(io.StringIO()):
        model.save_pretrained(out)
    report(Progress(stage="export", message="reading the tokenizer"))
    tokenizer = _load_tokenizer(gguf)
    warning = restore(tokenizer, values, context)
    if warning:
        report(Progress(stage="export", message=f"warning: {warning}"))
    tokenizer.save_pretrained(out)
    _clean(out)
    _write_card(out, gguf, values)


def _load_model(gguf: Path) -> Any:
    import torch
    import transformers

    options: dict[str, Any] = {"gguf_file": gguf.name, "dtype": torch.bfloat16}
    if hasattr(transformers, "GgufConfig"):  # newer ones keep weights packed unless told
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    return _converted(transformers.AutoModelForCausalLM, gguf, options)


def _load_tokenizer(gguf: Path) -> Any:
    from transformers import AutoTokenizer

    return _converted(AutoTokenizer, gguf, {"gguf_file": gguf.name})


def _converted(loader: Any, gguf: Path, options: dict[str, Any]) -> Any:
    try:
        with redirect_stderr(io.StringIO()):  # progress bars of transformers' own
            return loader.from_pretrained(str(gguf.parent), local_files_only=True, **options)
    except (ValueError, KeyError, OSError, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"transformers cannot convert {gguf}: {' '.join(str(error).split())[:300]} "
            "Give a causal language model of an architecture whose GGUF it reads."
        ) from error


def _clean(out: Path) -> None:
    """Leaves out what was only true where the folder was made."""
    config = json.loads((out / "config.json").read_text())
    config.pop("_model_name_or_path", None)
    config.pop("_name_or_path", None)
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    path = out / "tokenizer_config.json"
    path.write_bytes(cleaned_config(path.read_bytes()))
    for weights in out.glob("*.safetensors"):  # written for their owner alone
        shutil.copymode(path, weights)


def _write_card(out: Path, gguf: Path, values: Mapping[str, Value]) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    license = values.get("general.license")
    data = ModelCardData(
        license=str(license) if license else None, library_name="transformers"
    ).to_yaml()
    body = _CARD.format(name=values.get("general.name", gguf.stem), file=gguf.name)
    ModelCard(f"---\n{data}\n---\n\n{body}").save(out / "README.md")
