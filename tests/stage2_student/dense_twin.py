"""The slow, obvious twin of the fused head: whole logits in fp64, one position at a time.

`make_case` draws a teacher's dense logits and what a dump would keep of them; `twin_loss` has the
formulas of the losses over the full vocabulary, with torch's ordinary autograd behind them.
"""

from dataclasses import dataclass

import numpy as np
import torch

from stage2_student.targets import Targets


@dataclass
class Case:
    """Targets and the dense teacher logits [N, V] behind them."""

    targets: Targets
    teacher_NV: torch.Tensor


def make_case(
    rows=7,
    vocabulary=50,
    top_k=6,
    samples=8,
    *,
    seed=0,
    sharpness=2.0,
    dtype=torch.float64,
    temperatures=(1.0, 2.0),
    offset=None,
    min_kept=None,
    teacher_NV=None,
):
    """Exact (unrounded) targets; with `min_kept` the rows keep different numbers of entries."""
    rng = np.random.default_rng(seed)
    if teacher_NV is None:
        teacher_NV = rng.standard_normal((rows, vocabulary)) * sharpness
    labels = rng.integers(0, vocabulary, rows)
    weights = rng.uniform(0.5, 1.5, rows)
    kept = rng.integers(top_k if min_kept is None else min_kept, top_k + 1, rows)
    gaps_NV = teacher_NV - teacher_NV.max(axis=1, keepdims=True)
    order_NV = np.argsort(-gaps_NV, axis=1, kind="stable")
    heads = [order_NV[n, : kept[n]] for n in range(rows)]
    tails = [np.sort(order_NV[n, kept[n] :]) for n in range(rows)]
    p_NV = softmax(gaps_NV)
    draws = []
    for n in range(rows):
        u = rng.random() if offset is None else offset
        cumulative = np.cumsum(p_NV[n, tails[n]])
        points = (u + np.arange(samples + 1)) / max(samples, 1)
        points = points[points < (cumulative[-1] if len(cumulative) else 0)] if samples else []
        draws.append(tails[n][np.searchsorted(cumulative, points, side="right")])
    logmass = {
        t: np.log(
            np.maximum([softmax(gaps_NV[n : n + 1] / t)[0, tails[n]].sum() for n in range(rows)],
                       1e-9)
        )
        for t in temperatures
    }  # fmt: skip
    ids_NK, logits_NK = padded(heads, gaps_NV)
    tail_ids_NS, tail_logits_NS = padded(draws, gaps_NV)

    def real(values):
        return torch.as_tensor(np.asarray(values), dtype=dtype)

    targets = Targets(
        rows_N=torch.arange(rows),
        ids_NK=torch.as_tensor(ids_NK),
        logits_NK=real(logits_NK),
        tail_logmass_N={t: real(mass) for t, mass in logmass.items()},
        tail_ids_NS=torch.as_tensor(tail_ids_NS),
        tail_logits_NS=real(tail_logits_NS),
        draws_per_unit=samples,
        labels_N=torch.as_tensor(labels),
        token_logprobs_N=real(np.log(np.maximum(p_NV[np.arange(rows), labels], 1e-300))),
        weights_N=real(weights),
    )
    return Case(targets, torch.as_tensor(teacher_NV, dtype=torch.float64))


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def padded(lists, gaps_NV):
    width = max((len(ids) for ids in lists), default=0)
    ids_NK = np.zeros((len(lists), width), np.int64)
    logits_NK = np.full((len(lists), width), -np.inf)
    for n, ids in enumerate(lists):
        ids_NK[n, : len(ids)] = ids
        logits_NK[n, : len(ids)] = gaps_NV[n, ids]
    return ids_NK, logits_NK


def dense_kl(teacher_NV, student_NV, temperature=1.0):
    """[N] KL over the whole vocabulary."""
    logp = torch.log_softmax(teacher_NV / temperature, 1)
    logq = torch.log_softmax(student_NV / temperature, 1)
    return (logp.exp() * (logp - logq)).sum(1)


def _skewed_forward(logp, logq, alpha):
    p, q = logp.exp(), logq.exp()
    return p * torch.log(p / (alpha * p + (1 - alpha) * q))


def _jsd(logp, logq, beta):
    p, q = logp.exp(), logq.exp()
    mixed = beta * p + (1 - beta) * q
    return beta * p * torch.log(p / mixed) + (1 - beta) * q * torch.log(q / mixed)


SUMMANDS = {
    "fkl": lambda logp, logq: logp.exp() * (logp - logq),
    "rkl": lambda logp, logq: logq.exp() * (logq - logp),
    "jsd": lambda logp, logq, beta=0.5: _jsd(logp, logq, beta),
    "skew_fkl": lambda logp, logq, alpha=0.1: _skewed_forward(logp, logq, alpha),
    "skew_rkl": lambda logp, logq, alpha=0.1: _skewed_forward(logq, logp, alpha),
    "tvd": lambda logp, logq: (logp.exp() - logq.exp()).abs() / 2,
}
"""What each loss sums over the vocabulary."""

LINES = {
    "fkl": lambda p, q: (0, 0),
    "rkl": lambda p, q: (-q / p, torch.log(q / p) + 1),
    "jsd": lambda p, q, beta=0.5: (0, (1 - beta) * np.log(1 / (1 - beta))),
    "skew_fkl": lambda p, q, alpha=0.1: (0, 0),
    "skew_rkl": lambda p, q, alpha=0.1: (0, np.log(1 / alpha)),
    "tvd": lambda p, q: (0.5, 0.5),
}
"""(a, b) of the line a·p + b·q that is summed over the tail exactly, from the masses on it."""


def dense_loss(loss, logp, logq, arguments=()):
    """The loss of one position over the outcomes given, all of weight 1."""
    if loss == "logit_mse":
        return _variance(logp.exp(), logp - logq)
    return SUMMANDS[loss](logp, logq, **dict(arguments)).sum()


def _variance(weights, values):
    centre = (weights * values).sum() / weights.sum()
    return (weights * (values - centre) ** 2).sum()


def twin_soft(case, student_NV, loss, temperature, tail, arguments=()):
    """[N] a loss as a dump with this tail allows it."""
    losses = []
    for n in range(len(student_NV)):
        logp = torch.log_softmax(case.teacher_NV[n] / temperature, 0)
        logq = torch.log_softmax(student_NV[n] / temperature, 0)
        kept = case.targets.ids_NK[n][case.targets.logits_NK[n] > -torch.inf]
        if tail == "sample":
            losses.append(_sampled(case, n, logp, logq, loss, arguments))
            continue
        logp, logq = _outcomes(logp, logq, kept, tail)
        losses.append(dense_loss(loss, logp, logq, arguments))
    return torch.stack(losses)


def _outcomes(logp, logq, kept, tail):
    rest = torch.ones(len(logp), dtype=torch.bool)
    rest[kept] = False
    if tail == "bucket":
        return [
            torch.cat([log[kept], log[rest].exp().sum()[None].clamp(min=floor).log()])
            for log, floor in ((logp, 1e-9), (logq, torch.finfo(logq.dtype).tiny))
        ]
    if tail == "renormalise":
        return [log[kept] - torch.logsumexp(log[kept], 0) for log in (logp, logq)]
    return logp[kept], logq[kept]


def _sampled(case, n, logp, logq, loss, arguments):
    """The kept entries, the line a·p + b·q of the whole tail, and what the draws differ from it."""
    targets = case.targets
    kept = targets.ids_NK[n][targets.logits_NK[n] > -torch.inf]
    draws = targets.tail_ids_NS[n][targets.tail_logits_NS[n] > -torch.inf]
    p_1 = torch.softmax(case.teacher_NV[n], 0)[draws]
    weights = 1 / (targets.draws_per_unit * p_1)
    if loss == "logit_mse":
        both = torch.cat([kept, draws])
        weights = torch.cat([torch.ones(len(kept), dtype=weights.dtype), weights])
        return _variance(weights * logp[both].exp(), (logp - logq)[both])
    rest = torch.ones(len(logp), dtype=torch.bool)
    rest[kept] = False
    p_tail, q_tail = logp.exp()[rest].sum().clamp(min=1e-9), logq.exp()[rest].sum()
    a, b = LINES[loss](p_tail, q_tail.clamp(min=1e-300), **dict(arguments))
    summand = SUMMANDS[loss](logp, logq, **dict(arguments))
    difference = summand - a * logp.exp() - b * logq.exp()
    return summand[kept].sum() + a * p_tail + b * q_tail + (weights * difference[draws]).sum()


def twin_ce(case, student_NV, smoothing=0.0):
    """[N] cross-entropy with the realised token, smoothed over the vocabulary."""
    logq = torch.log_softmax(student_NV, 1)
    goal = torch.full_like(logq, smoothing / logq.shape[1])
    goal[torch.arange(len(logq)), case.targets.labels_N] += 1 - smoothing
    return -(goal * logq).sum(1)


def twin_loss(case, student_NV, terms):
    """The weighted sum over positions and terms (loss, weight, temperature, tail, arguments)."""
    total = student_NV.new_zeros(())
    for loss, weight, temperature, tail, *rest in terms:
        arguments = rest[0] if rest else {}
        if loss == "ce":
            loss_N = twin_ce(case, student_NV, **arguments)
        else:
            loss_N = twin_soft(case, student_NV, loss, temperature, tail, arguments)
        total = total + weight * temperature**2 * (loss_N * case.targets.weights_N).sum()
    return total
