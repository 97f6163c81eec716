"""Squared difference of the logits, centred, each weighted with the teacher's probability.

    L = Σ_j p_j · (d_j − d̄)²,   d_j = z_j / T − u_j,   d̄ = Σ_j p_j · d_j / Σ_j p_j

z being the teacher's logits and u the student's, both over T; T² of the objective gives the logits
their own scale back. A constant added to all logits of a model changes nothing, so d may be log p −
log q. It is the variance of log(p/q) under the teacher. Sources: Kim et al. 2021, "Comparing
Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation", arXiv:2105.08919
(there all entries alike, which a sparse dump cannot say: tens of thousands of unlikely entries
would decide); Richter et al. 2020, "VarGrad", arXiv:2010.10436 (the log-variance divergence).

Grows with the square of a wrong ratio, so what is furthest off decides: a second term beside fkl,
rather than a beginning.

With `sample` (default) a sum over the draws stands for the tail's sum, as in forward KL; being
quadratic in the sample the estimate lies below the exact value by the variance of d̄, which is
small. `bucket` takes the tail as one entry, exact for it. `none` and `renormalise` say nothing of
the student's mass outside the kept entries.
"""

import torch

from stage2_student.outcomes import Tail, make_outcomes
from stage2_student.signals import StudentSignals, TeacherSignals


def logit_mse(teacher: TeacherSignals, student: StudentSignals, tail: Tail) -> torch.Tensor:
    """[N] variance of log(p/q) under the teacher at each position, in nats²."""
    outcomes = make_outcomes(teacher, student, tail)
    p_NO = torch.exp(outcomes.logp_NO)
    difference_NO = outcomes.logp_NO - outcomes.logq_NO
    centre_N = outcomes.sum(p_NO * difference_NO) / outcomes.sum(p_NO)
    return outcomes.sum(p_NO * (difference_NO - centre_N[:, None]) ** 2)
