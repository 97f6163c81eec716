"""What losses on hidden states add to a training step: forward and backward, beside the head's.

Three pairs of layers, with and without learned projectors, against forward KL through the fused
head at the same positions. Random numbers, as nothing here depends on them. Run as

    python -m benchmarks.hidden_losses

Ratios of processor time within one run; the student's body, which is most of a step, is left out,
so the share of a whole step is smaller still. Says nothing about how good the student gets.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.machine import write_result
from schemas.hidden_layers import LAST
from stage2_student.batch import Batch
from stage2_student.distillation import distillation_loss
from stage2_student.hidden_losses import HIDDEN_LOSSES
from stage2_student.hidden_matching import HiddenMatching, StatePlan
from stage2_student.hidden_terms import HiddenTerm, LayerPair, Projector
from stage2_student.objective import make_objective
from stage2_student.targets import Targets

PAIRS = tuple(LayerPair(student=layer, teacher=layer) for layer in ("4", "8", LAST))
KEPT, DRAWN = 64, 16
PROJECTORS = [name for name in get_args(Projector) if name != "auto"]


def main() -> None:
    """Measures, writes results/hidden_losses.json and prints the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    arms = {"head, fkl": head_arm(options)}
    for loss in HIDDEN_LOSSES:
        for projector in PROJECTORS:
            name = "learned projector" if projector == "linear" else "no projector"
            arms[f"{loss}, {name}"] = states_arm(options, loss, projector)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(options.rounds + 1):
        for name, run in arms.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    medians = {name: float(np.median(each[1:])) for name, each in seconds.items()}
    ratios = {name: round(each / medians["head, fkl"], 4) for name, each in medians.items()}
    for name, ratio in ratios.items():
        print(f"{name:40} {medians[name]:8.4f} s  {ratio:.1%} of the head")
    write_result("hidden_losses", {"setting": vars(options), "seconds": medians, "ratios": ratios})


def head_arm(options: argparse.Namespace) -> Callable[[], Any]:
    """Forward KL through the head, forward and backward."""
    hidden_ND = torch.randn(options.positions, options.width).requires_grad_()
    weight_VD = (torch.randn(options.vocabulary, options.width) * 0.02).requires_grad_()
    targets, objective = make_targets(options), make_objective("fkl")

    def run() -> None:
        total = distillation_loss(hidden_ND, weight_VD, targets, objective).total
        total.backward()

    return run


def states_arm(options: argparse.Namespace, loss: str, projector: Projector) -> Callable[[], Any]:
    """One loss on the states of all pairs, forward and backward."""
    rows, width = options.positions, options.width
    plan = StatePlan(
        terms=[HiddenTerm(loss=loss, pairs=PAIRS, projector=projector)],
        student_widths={pair.student: width for pair in PAIRS},
        stored_width=width,
        projection=None,
        spreads={pair.teacher: np.ones(width, np.float32) for pair in PAIRS},
        seed=0,
    )
    ids_BT = torch.zeros(1, rows, dtype=torch.int64)
    batch = Batch(
        input_ids=ids_BT,
        position_ids=ids_BT,
        document_ids=ids_BT,
        targets=make_targets(options),
        documents=(),
        epoch=0,
        step=0,
        states={pair.teacher: torch.randn(rows, width) for pair in PAIRS},
    )
    states = {pair.student: torch.randn(1, rows, width).requires_grad_() for pair in PAIRS}
    matching = HiddenMatching(plan)

    def run() -> None:
        matching(states, batch).sum().backward()

    return run


def make_targets(options: argparse.Namespace) -> Targets:
    """What a dump would hold at that many positions."""
    rows = options.positions
    logits_NK = torch.randn(rows, KEPT).sort(dim=1, descending=True).values
    ids_NK = torch.randint(0, options.vocabulary, (rows, KEPT))
    return Targets(
        rows_N=torch.arange(rows),
        ids_NK=ids_NK,
        logits_NK=logits_NK - logits_NK[:, :1],
        tail_logmass_N={1.0: torch.full((rows,), -2.0)},
        tail_ids_NS=torch.randint(0, options.vocabulary, (rows, DRAWN)),
        tail_logits_NS=torch.randn(rows, DRAWN) - 6,
        draws_per_unit=KEPT,
        labels_N=ids_NK[:, 0].clone(),
        token_logprobs_N=torch.full((rows,), -1.0),
        weights_N=torch.ones(rows),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
