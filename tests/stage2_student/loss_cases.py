"""Losses by name, with arguments that they may have."""

import torch

from stage2_student.distillation import distillation_loss
from stage2_student.fused_head import HeadOptions
from stage2_student.losses import LOSSES
from tests.stage2_student.head_cases import (
    objective,
)

TAILS = ["sample", "bucket", "none", "renormalise"]
ARGUMENTS = {"jsd": {"beta": 0.2}, "skew_fkl": {"alpha": 0.3}, "skew_rkl": {"alpha": 0.3}}
SOFT = [name for name, loss in LOSSES.items() if loss.soft]
UNBIASED = [name for name in SOFT if name != "logit_mse"]


def term(loss, temperature=1.0, tail="sample", weight=1.0):
    return (loss, weight, temperature, tail, ARGUMENTS.get(loss, {}))


def loss_of(case, inputs, terms, **options):
    hidden, weight, bias = inputs
    found = HeadOptions(**options)
    return distillation_loss(
        hidden, weight, case.targets, objective(terms), bias_V=bias, options=found
    ).total


def value_and_gradient(total, leaf):
    return total.detach().double(), torch.autograd.grad(total, leaf)[0].double()
