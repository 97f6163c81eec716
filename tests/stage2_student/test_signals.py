"""What is decoded from stored signals, against the dense distribution behind them."""

import pytest
import torch

from stage2_student.signals import teacher_signals
from tests.stage2_student.dense_twin import make_case


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_log_probabilities_are_those_of_the_dense_teacher(temperature):
    case = make_case(min_kept=1)
    logp_NV = torch.log_softmax(case.teacher_NV / temperature, 1)
    ours = teacher_signals(case.targets, temperature, torch.float64)
    pairs = [
        (ours.logp_NK, case.targets.ids_NK, case.targets.logits_NK),
        (ours.logp_NS, case.targets.tail_ids_NS, case.targets.tail_logits_NS),
    ]
    for logp, ids, logits in pairs:
        padded = torch.isneginf(logits)
        assert padded.any()
        assert torch.isneginf(logp[padded]).all()
        torch.testing.assert_close(logp[~padded], logp_NV.gather(1, ids)[~padded])


def test_draws_weigh_the_inverse_of_their_probability_at_temperature_one():
    case = make_case(samples=8)
    logp_NV = torch.log_softmax(case.teacher_NV, 1)
    weights = teacher_signals(case.targets, 2.0, torch.float64).draw_weights_NS
    padded = torch.isneginf(case.targets.tail_logits_NS)
    assert (weights[padded] == 0).all()
    p = logp_NV.gather(1, case.targets.tail_ids_NS).exp()
    torch.testing.assert_close(weights[~padded], 1 / (8 * p)[~padded])


def test_a_dump_without_a_sample_has_no_draws():
    signals = teacher_signals(make_case(samples=0).targets, 1.0)
    assert signals.draw_weights_NS.shape == signals.logp_NS.shape == (7, 0)


def test_a_tiny_kept_mass_keeps_its_precision():
    """1 − tail mass from the logarithm near 0: log1p(−exp(x)) would lose it in fp32."""
    case = make_case(rows=1, top_k=1, dtype=torch.float32)
    case.targets.tail_logmass_N[1.0].fill_(-1e-6)
    kept = teacher_signals(case.targets, 1.0).logp_NK.exp()
    torch.testing.assert_close(kept, torch.tensor([[1e-6]]), rtol=1e-4, atol=0)
