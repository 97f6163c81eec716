"""Low-rank adapters (LoRA, DoRA) through peft: put in, kept in checkpoints, merged at the end.

LoRA (Hu et al. 2021, arXiv:2106.09685): a linear layer W becomes W + (alpha / r) · B A, with A
[r, in] and B [out, r] trained and W as it was.
DoRA (Liu et al. 2024, arXiv:2402.09353): it becomes m · V / ‖V‖, with V = W + (alpha / r) · B A and
a trained length m per output. B begins as zeros, so a training begins at the student as it is.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from schemas.errors import ConfigError, DamagedError, ModelError
from stage2_student.whole_tensors import put_whole

if TYPE_CHECKING:
    from stage2_student.settings import TrainSettings
    from stage2_student.tuning_settings import TuningSettings

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_OWN = re.compile(r"\.(lora_[AB]\.default\.weight|lora_magnitude_vector\.default\.weight)$")


def add_adapter(model: Any, settings: "TrainSettings", base: str) -> None:
    """Puts adapters into a model, whose own weights are frozen by that.

    Args:
        model: a transformers model.
        settings: of the training.
        base: where the model came from, for those who will load the adapter.

    Raises:
        ConfigError: peft is missing, or no layer has such a name.
    """
    config, layers = _config(settings), _linear_layers(model)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)  # every rank begins with the same A
            model.add_adapter(config)
    except ValueError as error:  # peft's own error is one
        raise ConfigError(
            f"adapters cannot be put in: {error} This student has linear layers "
            f"{', '.join(layers)}. Choose among them with --lora-targets."
        ) from error
    config.base_model_name_or_path = base


def trained_tensors(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The adapter's tensors out of a state dict, under the names that peft stores them by."""
    return {saved_name(name): t for name, t in weights.items() if _OWN.search(name)}


def saved_name(parameter: str) -> str:
    """The name under which a checkpoint holds a parameter; for those of no adapter their own."""
    if not _OWN.search(parameter):
        return parameter
    plain = parameter.replace("lora_magnitude_vector.default.weight", "lora_magnitude_vector")
    return _PREFIX + plain.replace(".default.", ".")


def load_adapter(model: Any, checkpoint: Path) -> None:
    """Takes the adapters in a model to where a checkpoint left them.

    Raises:
        DamagedError: it lacks some of them, or cannot be read.
    """
    saved = _read(checkpoint / WEIGHTS)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if saved_name(name) not in saved:
            raise DamagedError(
                f"{checkpoint / WEIGHTS} lacks {saved_name(name)}. Delete that checkpoint, and "
                "--resume takes the one before it."
            )
        put_whole(parameter, saved[saved_name(name)])


def merged(model: Any, settings: "TuningSettings", weights: Mapping[str, torch.Tensor]) -> Any:
    """The model with the trained adapters added to its weights; `model` is used up.

    Args:
        model: as it was before `add_adapter`.
        settings: as `add_adapter` was given.
        weights: a state dict of the trained model, whole.
    """
    from peft import get_peft_model, set_peft_model_state_dict

    adapted = get_peft_model(model, _config(settings))
    tensors = {name: tensor.detach().cpu() for name, tensor in trained_tensors(weights).items()}
    unknown = set_peft_model_state_dict(adapted, tensors).unexpected_keys
    if unknown:
        raise RuntimeError(f"peft does not know {unknown[:3]}")
    return adapted.merge_and_unload()


def save_adapter(folder: Path, model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Writes the adapter alone, as peft loads it.

    Args:
        folder: exists.
        model: with adapters.
        weights: a state dict of it, whole.
    """
    from safetensors.torch import save_file

    tensors = {name: t.contiguous().cpu() for name, t in trained_tensors(weights).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    model.peft_config["default"].save_pretrained(folder)


def base_of(folder: Path) -> str:
    """Where the model is over which an adapter's folder is to be loaded.

    Raises:
        ModelError: its configuration does not say so.
    """
    import json

    found = json.loads((folder / CONFIG).read_text("utf-8")).get("base_model_name_or_path")
    if not found:
        raise ModelError(
            f"{folder / CONFIG} does not say which model the adapter belongs to. Write it there as "
            "base_model_name_or_path."
        )
    return str(found)


def loaded_over(model: Any, folder: Path) -> Any:
    """The model with a stored adapter added to its weights.

    Raises:
        ConfigError: peft is missing.
    """
    _check_peft()
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder).merge_and_unload().requires_grad_(True)


def _config(settings: "TuningSettings") -> Any:
    _check_peft()
    from peft import LoraConfig

    rank = settings.lora_rank or 0
    return LoraConfig(
        r=rank,
        lora_alpha=settings.lora_alpha or 2 * rank,
        lora_dropout=0.0,
        target_modules=list(settings.lora_targets) or "all-linear",
        use_dora=settings.dora,
        task_type="CAUSAL_LM",
    )


def _linear_layers(model: Any) -> list[str]:
    """Names that `lora_targets` may have."""
    from transformers.pytorch_utils import Conv1D

    kinds = (torch.nn.Linear, Conv1D)
    names = {n.rpartition(".")[2]: m for n, m in model.named_modules() if isinstance(m, kinds)}
    return sorted(n for n, m in names.items() if m is not model.get_output_embeddings())


def _check_peft() -> None:
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise ConfigError(
            "adapters need peft, which is not installed. Give: pip install 'potstill[lora]'"
        )


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, torch.Tensor] = load_file(path)
        return found
    except (OSError, SafetensorError) as error:
        raise DamagedError(
            f"{path} cannot be read: {error}. Delete that checkpoint, and --resume takes the one "
            "before it."
        ) from error
