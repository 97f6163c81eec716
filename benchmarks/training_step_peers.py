"""Other programs' losses on the same head, run from their own packages or checkouts.

    pip install liger-kernel cut-cross-entropy       # or into a folder named in PYTHONPATH
    git clone https://github.com/arcee-ai/DistillKit
    git clone https://github.com/axolotl-ai-cloud/axolotl

Of the two checkouts only the modules with the losses are imported, since the programs around them
pin other versions of transformers. What does not run on this machine is reported with its reason.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from stage2_student.targets import Targets

HeadLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(hidden [N, D], weight [V, D]) → mean loss."""


def distillkit(targets: Targets, checkout: str) -> HeadLoss:
    """Its sparse forward KL on the kept entries, over full logits, nothing for the tail."""
    _package("distillkit", Path(checkout) / "distillkit")
    _package("distillkit.lossfuncs", Path(checkout) / "distillkit" / "lossfuncs")
    kl = importlib.import_module("distillkit.lossfuncs.kl").sparse_kl_div
    logp_NK = _kept_logprobs(targets)

    def loss(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        logits = torch.nn.functional.linear(hidden, weight)[None]
        total: torch.Tensor = kl(logits, targets.ids_NK[None], logp_NK[None])
        return total / len(hidden)

    return loss


def axolotl(targets: Targets, checkout: str) -> HeadLoss:
    """Its chunked top-k KL on Liger's fused linear base, as it comes: 1024 rows a chunk."""
    root = Path(checkout) / "src" / "axolotl"
    for name in ("", ".integrations", ".integrations.kd", ".integrations.kd.kernels"):
        _package(f"axolotl{name}", root.joinpath(*name.split(".")[1:]))
    made = importlib.import_module("axolotl.integrations.kd.kernels.liger")
    kd = made.LigerFusedLinearKLTopKLogprobLoss(
        weight_hard_loss=0.0,
        weight_soft_loss=1.0,
        beta=0.0,
        compiled=False,
        compute_ce_loss=False,
        normalize_topk=False,
    )
    logp_NK, mask_NK = _kept_logprobs(targets)[None], torch.ones_like(targets.ids_NK)[None]

    def loss(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        parts = targets.ids_NK[None], logp_NK, mask_NK, targets.labels_N[None]
        total: torch.Tensor = kd(weight, hidden[None], *parts)
        return total / len(hidden)

    return loss


def liger_jsd(targets: Targets, vocabulary: int, width: int) -> HeadLoss:
    """Liger's fused linear divergence (beta 0: forward KL), whose teacher is a live dense head.

    The teacher's head is as wide as the student's, and its product is part of the time.
    """
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    fused = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0, compiled=False
    )
    states = torch.randn(len(targets.labels_N), width)
    head = torch.randn(vocabulary, width) / width**0.5
    return lambda h, w: fused(h, w, states, head, targets.labels_N)


def liger_ce(targets: Targets) -> HeadLoss:
    """Liger's fused linear cross-entropy, a Triton kernel."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    fused = LigerFusedLinearCrossEntropyLoss()
    return lambda h, w: fused(w, h, targets.labels_N)


def cut_ce(targets: Targets) -> HeadLoss:
    """Cut cross-entropy, a Triton kernel."""
    from cut_cross_entropy import linear_cross_entropy

    return lambda h, w: linear_cross_entropy(h, w, targets.labels_N, impl="cce")


def peers(
    targets: Targets, vocabulary: int, width: int, checkouts: Mapping[str, str | None]
) -> dict[str, Callable[[], HeadLoss]]:
    """How to make each peer's loss; importing it happens there.

    Args:
        targets: what the teacher said.
        vocabulary: of the head.
        width: of the hidden states.
        checkouts: folders of `distillkit` and `axolotl`; without one that peer is left out.
    """
    made: dict[str, Callable[[], HeadLoss]] = {
        "liger jsd, dense teacher": lambda: liger_jsd(targets, vocabulary, width),
        "liger ce": lambda: liger_ce(targets),
        "cut cross-entropy": lambda: cut_ce(targets),
    }
    given = {name: folder for name, folder in checkouts.items() if folder}
    if "distillkit" in given:
        made["distillkit sparse kl"] = lambda: distillkit(targets, given["distillkit"])
    if "axolotl" in given:
        made["axolotl top-k kl"] = lambda: axolotl(targets, given["axolotl"])
    return made


def runnable(
    made: Mapping[str, Callable[[], HeadLoss]], hidden: torch.Tensor, weight: torch.Tensor
) -> tuple[dict[str, HeadLoss], dict[str, str]]:
    """(the peers that give a finite loss here, why the others do not)."""
    running, failed = {}, {}
    for name, make in made.items():
        try:
            loss = make()
            value = float(loss(hidden, weight).detach())
            if not value < float("inf"):
                raise ValueError(f"its loss is {value}")
            running[name] = loss
        except Exception as error:  # whatever a foreign program raises
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    return running, failed


def _kept_logprobs(targets: Targets) -> torch.Tensor:
    """[N, K] the teacher's log-probabilities of the kept entries."""
    mass_N = torch.log1p(-targets.tail_logmass_N[1.0].exp())
    return targets.logits_NK.log_softmax(dim=1) + mass_N[:, None]


def _package(name: str, folder: Path) -> None:
    """A package of that name without its __init__, so that only what is asked for is imported."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there")
    module: Any = ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module
