"""Reverse Kullback–Leibler divergence, KL(student ‖ teacher).

    L = Σ_j q_j · (log q_j − log p_j)

Mode-seeking: the student is punished wherever it has mass and the teacher has none, and may leave
out what it cannot model. Source: Gu et al. 2024, "MiniLLM", arXiv:2306.08543 (there with samples of
the student; here on the dump's own texts).

The sum runs over the student's mass, and a draw falls where the teacher has it, so no tail says it
well (`benchmarks/loss_tails.py`); `skew_rkl` is the same question with a limit.

- `bucket` (default): Q·(log Q − log P) of the whole tail masses, exact, a lower bound. The student
  hears how much mass it may have in the tail, not where.
- `sample`: the bucket, plus what the draws say of the divergence inside the tail. Unbiased. With
  weight w of a draw and hats for what the draws estimate, E Q̂ = Q and E P̂ = P:

      Σ w·q·log(q/p) + (log(Q/P) + 1)·(Q − Q̂) − (Q/P)·(P − P̂)

  The added terms have expectation 0, and take out what Q and P say exactly. Where q ≫ p a draw is
  rare and weighs q / (S·p): seldom, and then heavily, its gradient swamps a step's.
- `none` rewards a student that moves its mass out of the kept entries.
"""

import torch

from stage2_student.outcomes import Tail, make_outcomes, tail_masses
from stage2_student.signals import StudentSignals, TeacherSignals


def reverse_kl(teacher: TeacherSignals, student: StudentSignals, tail: Tail) -> torch.Tensor:
    """[N] KL(q ‖ p) of each position, in nats."""
    outcomes = make_outcomes(teacher, student, tail)
    q_NO = torch.exp(outcomes.logq_NO)
    drawn_N = outcomes.sum(q_NO * (outcomes.logq_NO - outcomes.logp_NO))
    if tail != "sample":
        return drawn_N
    masses = tail_masses(teacher, student)
    log_ratio_N = masses.logq_N - masses.logp_N
    of_student_N = (log_ratio_N + 1) * masses.q_missed_N
    return drawn_N + of_student_N - torch.exp(log_ratio_N) * masses.p_missed_N
