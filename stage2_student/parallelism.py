"""Several processes: what transformers is told, and that they really train together.

Two failures are silent without the checks below: processes that train without exchanging gradients,
and copies of the model (DDP) where shards (FSDP) were asked for.
"""

import os
from pathlib import Path
from typing import Any

import torch

from schemas.errors import ConfigError
from stage2_student.carve import layer_list
from stage2_student.schedule import LearningRate
from stage2_student.settings import TrainSettings
from stage2_student.zero2 import zero2_config


def training_arguments(settings: TrainSettings, out: Path, rate: LearningRate, model: Any) -> Any:
    """What of the settings transformers' Trainer needs to know; connects the processes."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(out),
        max_steps=rate.steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.grad_accumulation,
        learning_rate=rate.peak,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.dtype == "bfloat16" and settings.parallel != "zero2",
        gradient_checkpointing=settings.gradient_checkpointing,
        seed=settings.seed,
        logging_steps=settings.log_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 1,
        report_to=settings.report_to or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        ignore_data_skip=True,
        **_place(settings, model),
    )


def compile_layers(model: Any) -> None:
    """Lets torch compile each layer of a model when it is first run.

    Layer by layer, so that shards (FSDP) and recomputation stay outside, and a program is made once
    for all of them. The head is left alone: its blocks are large products, and what lies between
    them runs in place.
    """
    for layer in model.get_submodule(layer_list(model)):
        layer.compile()


def place() -> tuple[int, int]:
    """(rank, number of processes), as torchrun and accelerate tell them."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def check_parallelism(accelerator: Any, arguments: Any) -> None:
    """Checks that processes that were started together train together, in the way asked for.

    Raises:
        ConfigError: they do not.
    """
    from accelerate.utils import DistributedType

    found, started = accelerator.distributed_type, place()[1]
    if started > 1 and found == DistributedType.NO:
        raise ConfigError(
            f"{started} processes were started, but they would train apart, each a student of its "
            "own. Start them with torchrun, and without other launchers' variables."
        )
    if arguments.fsdp and found != DistributedType.FSDP:
        raise ConfigError(
            f"--parallel fsdp was asked for, but this machine gives {found.value}: every process "
            "would hold the whole student. It needs GPUs; elsewhere give --parallel ddp."
        )
    if arguments.deepspeed and found != DistributedType.DEEPSPEED:
        raise ConfigError(
            f"--parallel zero2 was asked for, but this machine gives {found.value}: every process "
            "would hold the whole optimizer. Give --parallel fsdp or ddp."
        )


def keep_sums_in_float32(accelerator: Any) -> None:
    """FSDP in bfloat16: gradients are summed over ranks in float32, and the loss stays float32."""
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is not None and accelerator.mixed_precision == "bf16":
        from torch.distributed.fsdp import MixedPrecisionPolicy

        plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32
        )


def _place(settings: TrainSettings, model: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"ddp_find_unused_parameters": False}
    if not torch.cuda.is_available():
        found["use_cpu"] = True
        found["ddp_backend"] = "gloo" if place()[1] > 1 else None
    if settings.parallel == "zero2":
        found["deepspeed"] = zero2_config(settings.dtype == "bfloat16")
    if settings.parallel == "fsdp":
        found |= {"fsdp": True, "fsdp_config": _fsdp(model)}
    return found


def _fsdp(model: Any) -> dict[str, Any]:
    layers = model.get_submodule(layer_list(model))
    return {
        "version": 2,
        "reshard_after_forward": True,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": sorted({type(layer).__name__ for layer in layers}),
        "state_dict_type": "FULL_STATE_DICT",
        "cpu_ram_efficient_loading": False,
    }
