"""The output head of a model that vLLM has loaded, proven against the model's own logits.

Which weight a model's logits are made of is not guessed from its attributes: the arguments that its
`compute_logits` gives to the logits processor are looked at once.

Shapes: N rows, D hidden width, V vocabulary.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from schemas.errors import ModelError
from schemas.manifest import Capture
from stage1_teacher.capture import Reduction
from stage1_teacher.head_rows import BlockRows
from stage1_teacher.output_head import OutputHead
from stage1_teacher.sharded_reduction import Shard, ShardedReduction

_ROWS = 8
_TYPICAL_LOGIT = 32.0
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 2e-2, torch.float16: 5e-3}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadParts:
    """What a model's logits are made of.

    Attributes:
        processor: vLLM's layer that computes them.
        module: the layer whose weight it multiplies with; padded, and under tensor parallelism one
            rank's rows.
        bias_V: or None.
    """

    processor: Any
    module: Any
    bias_V: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHead:
    """This rank's part of the head.

    Attributes:
        head: its rows of the weight, padding left out.
        shard: where they lie among those of the other ranks; None when there are no others.
    """

    head: OutputHead
    shard: Shard | None

    @property
    def device(self) -> torch.device:
        """Where the head's products run."""
        return self.head.weight_VD.device

    @property
    def answers(self) -> bool:
        """Whether this is the rank that the driver hears."""
        return self.shard is None or self.shard.rank == 0

    def reduction(self, capture: Capture, rows: BlockRows) -> Reduction | ShardedReduction:
        """Reduces rows by a policy, together with the other ranks.

        Raises:
            ConfigError: `top_k` is above the vocabulary.
        """
        if self.shard is None:
            return Reduction(self.head, capture, rows)
        return ShardedReduction(self.head, self.shard, capture, rows)


@torch.inference_mode()
def proven_head(runner: Any, head_dtype: str, width: int) -> WorkerHead | None:
    """The head of a runner's model; None where the head is in another rank of the pipeline.

    All ranks must come here together, since they compute the model's logits together.

    Raises:
        ModelError: the head is not as expected, or its logits are not the model's.
    """
    from vllm.distributed import get_pp_group, get_tp_group

    if not get_pp_group().is_last_rank:
        return None
    model, group = runner.get_model(), get_tp_group()
    like = torch.empty(0, dtype=runner.model_config.dtype, device=runner.device)
    probe = probe_rows(width, like)
    parts = find_parts(model, probe)
    vocabulary = int(parts.processor.org_vocab_size)
    if group.world_size == 1:
        columns = slice(0, vocabulary)
        head = output_head(parts, columns, head_dtype)
        prove_head(model, head, columns, typical_rows(model, probe))
        return WorkerHead(head=head, shard=None)
    start = int(parts.module.shard_indices.org_vocab_start_index)
    columns = slice(start, start + int(parts.module.shard_indices.num_org_elements))
    head = output_head(parts, slice(0, columns.stop - start), head_dtype)
    prove_head(model, head, columns, probe)
    shard = Shard(
        rank=group.rank_in_group,
        start=start,
        vocabulary=vocabulary,
        all_gather=partial(_all_gather, group),
    )
    return WorkerHead(head=head, shard=shard)


def _all_gather(group: Any, values: Tensor) -> Tensor:
    """[R, …] of all ranks."""
    together: Tensor = group.all_gather(values.contiguous().flatten(), dim=0)
    return together.view(group.world_size, *values.shape)


def find_parts(model: Any, probe_ND: Tensor) -> HeadParts:
    """Runs the model's own head once and looks at what it takes.

    Raises:
        ModelError: there is no ordinary head.
    """
    seen: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    hooks = [
        module.register_forward_pre_hook(lambda *call: seen.append(call), with_kwargs=True)
        for module in model.modules()
        if hasattr(module, "org_vocab_size") and hasattr(module, "soft_cap")
    ]
    try:
        model.compute_logits(probe_ND)
    finally:
        for hook in hooks:
            hook.remove()
    if len(seen) != 1:
        raise ModelError(_unknown(model, f"{len(seen)} logits processors ran"))
    processor, args, kwargs = seen[0]
    bias = args[2] if len(args) > 2 else kwargs.get("embedding_bias")
    module = args[0] if args else kwargs["lm_head"]
    weight = getattr(module, "weight", None)
    if weight is None or weight.dim() != 2 or not weight.is_floating_point():
        raise ModelError(_unknown(model, f"its {type(module).__name__} has no plain weight"))
    return HeadParts(processor=processor, module=module, bias_V=bias)


def output_head(parts: HeadParts, rows: slice, head_dtype: str) -> OutputHead:
    """Our head of the same weight: `rows` of it, in float32 or as the model has it.

    A CPU has no product of bfloat16 that gives float32, so there the weight is copied once.
    """
    weight = parts.module.weight.detach()[rows]
    dtype = torch.float32 if head_dtype == "float32" else weight.dtype
    if dtype != weight.dtype and not _has_mixed_product(weight):
        weight = weight.to(dtype)
    bias = parts.bias_V
    return OutputHead(
        weight_VD=weight,
        bias_V=None if bias is None else bias.detach()[rows].to(dtype),
        scale=float(parts.processor.scale),
        softcap=parts.processor.soft_cap,
        dtype=dtype,
    )


def prove_head(model: Any, head: OutputHead, rows: slice, probe_ND: Tensor) -> None:
    """Compares the head's logits with the model's own on a few rows.

    Args:
        model: vLLM's; every rank must come here, since its ranks compute logits together.
        head: ours, of the weight's `rows`.
        rows: their ids in the vocabulary; a rank that does not see the logits compares nothing.
        probe_ND: from `probe_rows`.

    Raises:
        ModelError: they differ.
    """
    theirs = model.compute_logits(probe_ND)
    if theirs is None or head.size == 0:
        return
    theirs = theirs[:, rows].float()
    ours = theirs.new_empty(len(probe_ND), head.size, dtype=head.logits_dtype)
    head.logits(probe_ND, ours)
    if ours.shape != theirs.shape:
        raise ModelError(_unknown(model, f"shapes {tuple(ours.shape)} and {tuple(theirs.shape)}"))
    worst = float((ours.float() - theirs).abs().max() / theirs.abs().max())
    if not worst <= _ROUNDING[probe_ND.dtype]:
        raise ModelError(_unknown(model, f"they differ by {worst:.2g} of the largest logit"))


def probe_rows(width: int, like: Tensor) -> Tensor:
    """A few rows that could be hidden states, the same in every rank."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(_ROWS, width, generator=generator).to(like.device, like.dtype)


def typical_rows(model: Any, probe_ND: Tensor) -> Tensor:
    """The same rows as large as gives typical logits, which softcapping bends."""
    largest = model.compute_logits(probe_ND).float().abs().max()
    return probe_ND * torch.exp2(torch.log2(_TYPICAL_LOGIT / largest).round().clamp(min=0))


def _has_mixed_product(weight: Tensor) -> bool:
    return weight.is_cuda and weight.dtype in (torch.bfloat16, torch.float16)


def _unknown(model: Any, found: str) -> str:
    return (
        f"the logits that potstill computes of vLLM's {type(model).__name__} are not the model's "
        f"own: {found}. Give --engine-mode compat or --engine transformers."
    )
