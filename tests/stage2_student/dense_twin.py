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


def twin_fkl(case, student_NV, temperature, tail):
    """[N] forward KL as a dump with this tail allows it."""
    losses = []
    for n in range(len(student_NV)):
        logp = torch.log_softmax(case.teacher_NV[n] / temperature, 0)
        logp_1 = torch.log_softmax(case.teacher_NV[n], 0)
        logq = torch.log_softmax(student_NV[n] / temperature, 0)
        kept = case.targets.ids_NK[n][case.targets.logits_NK[n] > -torch.inf]
        rest = torch.ones(len(logp), dtype=torch.bool)
        rest[kept] = False
        if tail == "renormalise":
            logp = logp - torch.logsumexp(logp[kept], 0)
            logq = logq - torch.logsumexp(logq[kept], 0)
        loss = (logp[kept].exp() * (logp[kept] - logq[kept])).sum()
        if tail == "bucket":
            p_tail, q_tail = logp[rest].exp().sum(), logq[rest].exp().sum()
            loss = loss + p_tail * (p_tail.log() - q_tail.log())
        if tail == "sample":
            draws = case.targets.tail_ids_NS[n][case.targets.tail_logits_NS[n] > -torch.inf]
            for j in draws:
                weight = logp[j].exp() / (case.targets.draws_per_unit * logp_1[j].exp())
                loss = loss + weight * (logp[j] - logq[j])
        losses.append(loss)
    return torch.stack(losses)


def twin_loss(case, student_NV, terms):
    """The weighted sum over positions and terms (loss, weight, temperature, tail)."""
    total = student_NV.new_zeros(())
    for loss, weight, temperature, tail in terms:
        if loss == "ce":
            logq = torch.log_softmax(student_NV, 1)
            loss_N = -logq[torch.arange(len(logq)), case.targets.labels_N]
        else:
            loss_N = twin_fkl(case, student_NV, temperature, tail)
        total = total + weight * temperature**2 * (loss_N * case.targets.weights_N).sum()
    return total
