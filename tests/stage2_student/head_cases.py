"""Students' heads for tests of the fused head, and the comparison with the dense twin."""

import itertools

import numpy as np
import torch

from stage2_student.distillation import distillation_loss
from stage2_student.fused_head import HeadOptions
from stage2_student.objective import Objective, Term
from tests.stage2_student.dense_twin import make_case, twin_loss


def objective(terms):
    """Of (loss, weight, temperature, tail) and, where there are any, arguments."""
    names = ("loss", "weight", "temperature", "tail", "arguments")
    return Objective(terms=tuple(Term(**dict(zip(names, term, strict=False))) for term in terms))


def student(rows=7, vocabulary=50, width=5, seed=3, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape):
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return values.to(dtype).requires_grad_()

    return leaf(rows, width), leaf(vocabulary, width), leaf(vocabulary)


def dense_logits(hidden, weight, bias, options):
    logits = hidden @ weight.t() + (0 if bias is None else bias)
    logits = logits * options.transform.scale
    if options.transform.softcap is not None:
        logits = options.transform.softcap * torch.tanh(logits / options.transform.softcap)
    return logits[:, : options.vocabulary]


def compare(case, inputs, terms, options=None, rtol=1e-9):
    """The operator's loss and gradients (times 3, as a scaled loss would have) and the twin's."""
    options = options or HeadOptions()
    hidden, weight, bias = inputs
    leaves = [tensor for tensor in inputs if tensor is not None]
    ours = distillation_loss(
        hidden, weight, case.targets, objective(terms), bias_V=bias, options=options
    )
    twin = twin_loss(case, dense_logits(hidden, weight, bias, options), terms)
    torch.testing.assert_close(ours.total, twin, rtol=rtol, atol=rtol)
    gradients = torch.autograd.grad(3 * ours.total, leaves)
    expected = torch.autograd.grad(3 * twin, leaves)
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=rtol, atol=rtol)
    assert expected[0].abs().max() > 1e-3
    return ours


def constant_stretches(samples, **make):
    """(an offset, its share of 0 … 1) for every stretch of offsets that gives the same draws."""
    case = make_case(samples=samples, **make)
    p = torch.softmax(case.teacher_NV[0], 0).numpy()
    p[case.targets.ids_NK[0]] = 0
    breaks = np.unique(np.concatenate([[0, 1], (np.cumsum(p) * samples) % 1]))
    return [((low + high) / 2, high - low) for low, high in itertools.pairwise(breaks)]
