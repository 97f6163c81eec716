"""Values and gradients of the fused head and its losses against the dense twin."""

import pytest
import torch

from stage2_student.distillation import distillation_loss, read_head
from stage2_student.fused_head import HeadOptions
from stage2_student.logit_transform import LogitTransform
from stage2_student.objective import Term
from stage2_student.signals import teacher_signals
from tests.stage2_student.dense_twin import dense_kl, make_case, twin_loss, twin_soft
from tests.stage2_student.head_cases import (
    compare,
    constant_stretches,
    objective,
    student,
)
from tests.stage2_student.loss_mixes import MIXES

TAILS = ["sample", "bucket", "none", "renormalise"]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("block_rows", [1, 3, 7, 100])
def test_equals_the_dense_twin(mix, block_rows):
    case = make_case(min_kept=1)
    compare(case, student(), MIXES[mix], HeadOptions(block_rows=block_rows))


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("softcap", [None, 2.5])
def test_transformed_logits_equal_the_twin(mix, softcap):
    transform = LogitTransform(scale=0.4, softcap=softcap)
    options = HeadOptions(transform=transform, block_rows=4)
    compare(make_case(), student(), MIXES[mix], options)


@pytest.mark.parametrize("mix", ["fkl", "warm mix bucket"])
def test_a_student_wider_than_the_teacher_learns_nothing_beyond(mix):
    hidden, weight, bias = student(vocabulary=64)
    compare(make_case(), (hidden, weight, bias), MIXES[mix], HeadOptions(vocabulary=50))
    loss = distillation_loss(
        hidden,
        weight,
        make_case().targets,
        objective(MIXES[mix]),
        bias_V=bias,
        options=HeadOptions(vocabulary=50),
    )
    of_weight, of_bias = torch.autograd.grad(loss.total, [weight, bias])
    assert torch.equal(of_weight[50:], torch.zeros(14, 5, dtype=torch.float64))
    assert torch.equal(of_bias[50:], torch.zeros(14, dtype=torch.float64))


def test_a_student_narrower_than_the_teacher_is_taken_as_it_is():
    case = make_case()
    case.teacher_NV[:, 45:] = -60
    case = make_case(teacher_NV=case.teacher_NV.numpy())
    case.targets.labels_N.clamp_(max=44)
    hidden, weight, _ = student(vocabulary=45)
    ours = distillation_loss(
        hidden, weight, case.targets, objective(MIXES["fkl"]), options=HeadOptions(vocabulary=50)
    )
    narrow = make_case(teacher_NV=case.teacher_NV[:, :45].numpy())
    logits = hidden @ weight.t()
    torch.testing.assert_close(ours.total, twin_loss(narrow, logits, MIXES["fkl"]), rtol=1e-6,
                               atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("mix", MIXES)
def test_gradcheck(mix):
    case = make_case(rows=4, vocabulary=11, top_k=3, samples=5, min_kept=1)
    options = HeadOptions(block_rows=3, transform=LogitTransform(softcap=4.0))

    def total(hidden, weight, bias):
        terms = objective(MIXES[mix])
        return distillation_loss(
            hidden, weight, case.targets, terms, bias_V=bias, options=options
        ).total

    assert torch.autograd.gradcheck(total, student(rows=4, vocabulary=11, width=3), atol=1e-7)


@pytest.mark.parametrize("tail", ["sample", "bucket", "none"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_keeping_everything_is_the_exact_dense_kl(tail, temperature):
    case = make_case(top_k=50)
    hidden, weight, _ = student()
    ours = distillation_loss(
        hidden, weight, case.targets, objective([("fkl", 1.0, temperature, tail)])
    )
    dense_N = dense_kl(case.teacher_NV, hidden @ weight.t(), temperature)
    dense = temperature**2 * (dense_N * case.targets.weights_N).sum()
    torch.testing.assert_close(ours.total, dense, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(ours.total, weight),
        torch.autograd.grad(dense, weight),
        rtol=1e-5,
        atol=1e-7,
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_sampled_tail_is_the_dense_kl_on_average(temperature, seed):
    """The exact expectation over the random offset: the draws are constant between break points."""
    make = {"rows": 1, "top_k": 3, "samples": 4, "seed": seed}
    hidden, weight, _ = student(rows=1)
    mean = torch.zeros((), dtype=torch.float64)
    for offset, share in constant_stretches(**make):
        case = make_case(**make, offset=offset)
        terms = objective([("fkl", 1.0, temperature, "sample")])
        mean = mean + share * distillation_loss(hidden, weight, case.targets, terms).total
    case = make_case(**make, offset=0)
    dense_N = dense_kl(case.teacher_NV, hidden @ weight.t(), temperature)
    dense = temperature**2 * (dense_N * case.targets.weights_N).sum()
    torch.testing.assert_close(mean, dense, rtol=1e-9, atol=0)
    ours, exact = (torch.autograd.grad(total, weight)[0] for total in (mean, dense))
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-9)


def test_terms_are_logged_plain_and_the_total_has_weights_and_t_squared():
    case = make_case()
    ours = compare(case, student(), MIXES["warm mix"])
    expected = 0.7 * 4 * ours.terms["fkl"] + 0.3 * ours.terms["ce"]
    torch.testing.assert_close(ours.total.detach(), expected)
    assert not ours.terms["fkl"].requires_grad
    torch.testing.assert_close(ours.weight_sum, case.targets.weights_N.sum())


@pytest.mark.parametrize("tail", TAILS)
def test_reading_gives_every_position(tail):
    case = make_case(rows=9)
    hidden, weight, bias = student(rows=9)
    reading = read_head(
        hidden,
        weight,
        case.targets,
        temperatures=(2.0,),
        bias_V=bias,
        options=HeadOptions(block_rows=4),
    )
    logits = (hidden @ weight.t() + bias).detach()
    teacher = teacher_signals(case.targets, 2.0, torch.float64)
    torch.testing.assert_close(
        Term(loss="fkl", tail=tail).compute(teacher, reading.signals[2.0]),
        twin_soft(case, logits, "fkl", 2.0, tail),
    )
    logq = torch.log_softmax(logits, 1)
    assert torch.equal(reading.best_ids_N, logits.argmax(1))
    torch.testing.assert_close(reading.best_logprobs_N, logq.amax(1))
    torch.testing.assert_close(
        reading.signals[1.0].logq_label_N, logq[torch.arange(9), case.targets.labels_N]
    )
    assert not reading.signals[1.0].logq_NK.requires_grad
