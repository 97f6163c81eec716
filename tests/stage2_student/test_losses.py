"""Every loss of LOSSES against its formula over the whole vocabulary, in fp64 and by hand."""

import pytest
import torch

from stage2_student.fused_head import HeadOptions
from stage2_student.logit_transform import LogitTransform
from stage2_student.losses import LOSSES
from stage2_student.outcomes import make_outcomes, tail_masses
from stage2_student.signals import StudentSignals, teacher_signals
from tests.stage2_student.dense_twin import LINES, dense_loss, make_case
from tests.stage2_student.head_cases import (
    compare,
    constant_stretches,
    objective,
    student,
)
from tests.stage2_student.loss_cases import ARGUMENTS, SOFT, TAILS, UNBIASED, loss_of, term


def dense_total(case, student_NV, loss, temperature):
    """The loss over the whole vocabulary of both, no dump in between."""
    rows = zip(case.teacher_NV, student_NV, case.targets.weights_N, strict=True)
    return temperature**2 * sum(
        weight
        * dense_loss(
            loss,
            torch.log_softmax(teacher_V / temperature, 0),
            torch.log_softmax(student_V / temperature, 0),
            ARGUMENTS.get(loss, {}),
        )
        for teacher_V, student_V, weight in rows
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("loss", SOFT)
def test_value_and_gradients_are_the_twins(loss, tail, temperature):
    options = HeadOptions(block_rows=3, transform=LogitTransform(scale=0.7, softcap=3.0))
    compare(make_case(min_kept=1), student(), [term(loss, temperature, tail)], options, rtol=1e-8)


@pytest.mark.parametrize("loss", [name for name in SOFT if not ARGUMENTS.get(name)] + ["jsd"])
def test_arguments_have_defaults(loss):
    compare(make_case(), student(), [(loss, 0.5, 1.0, "sample")])


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("loss", SOFT)
def test_gradcheck(loss, tail):
    case = make_case(rows=3, vocabulary=9, top_k=3, samples=5, min_kept=2)

    def total(*inputs):
        return loss_of(case, inputs, [term(loss, 2.0, tail)], block_rows=2)

    assert torch.autograd.gradcheck(total, student(rows=3, vocabulary=9, width=3), atol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("tail", ["sample", "bucket", "none", "renormalise"])
@pytest.mark.parametrize("loss", SOFT)
def test_keeping_everything_is_the_exact_dense_loss(loss, tail, temperature):
    """What differs is the tail mass's floor of 1e-9: squared logs of it, for the squared one."""
    rtol = 1e-3 if (loss, tail) == ("logit_mse", "bucket") else 1e-6
    case, (hidden, weight, _) = make_case(top_k=50), student()
    ours = loss_of(case, (hidden, weight, None), [term(loss, temperature, tail)])
    dense = dense_total(case, hidden @ weight.t(), loss, temperature)
    torch.testing.assert_close(ours, dense, rtol=rtol, atol=0)
    gradients = [torch.autograd.grad(total, weight)[0] for total in (ours, dense)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=10 * rtol)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("loss", UNBIASED)
def test_the_sample_is_the_exact_loss_on_average(loss, temperature):
    """The expectation over the random offset, exactly: draws are constant between break points."""
    make = {"rows": 1, "top_k": 3, "samples": 4, "seed": 1}
    hidden, weight, _ = student(rows=1)
    mean = torch.zeros((), dtype=torch.float64)
    for offset, share in constant_stretches(**make):
        case = make_case(**make, offset=offset)
        mean = mean + share * loss_of(case, (hidden, weight, None), [term(loss, temperature)])
    dense = dense_total(make_case(**make, offset=0), hidden @ weight.t(), loss, temperature)
    torch.testing.assert_close(mean, dense, rtol=1e-9, atol=0)
    gradients = [torch.autograd.grad(total, weight)[0] for total in (mean, dense)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-9)


def test_the_sampled_logit_mse_is_low_by_the_variance_of_its_centre():
    """Quadratic in the sample, so not unbiased: below the exact value, and not by much."""
    make = {"rows": 1, "top_k": 12, "samples": 64, "seed": 1, "vocabulary": 200}
    hidden, weight, _ = student(rows=1, vocabulary=200)
    inputs = (hidden, weight, None)
    mean = sum(
        share * loss_of(make_case(**make, offset=offset), inputs, [term("logit_mse")])
        for offset, share in constant_stretches(**make)
    )
    dense = dense_total(make_case(**make, offset=0), hidden @ weight.t(), "logit_mse", 1.0)
    assert 0.9 * dense < mean < dense


@pytest.mark.parametrize("loss", ["jsd", "skew_fkl", "skew_rkl", "tvd"])
def test_no_draw_weighs_much_where_only_the_student_has_mass(loss):
    """What is left to the draws is small beside p, whatever q is; reverse KL has no such line."""
    logp = torch.full((1,), -20.0, dtype=torch.float64)
    logq = torch.full((1,), -0.01, dtype=torch.float64)
    given = ARGUMENTS.get(loss, {})
    a, b = LINES[loss](logp.exp(), logq.exp(), **given)
    left = dense_loss(loss, logp, logq, given) - a * logp.exp() - b * logq.exp()
    assert left.abs() < 25 * logp.exp()


@pytest.mark.parametrize("loss", SOFT)
def test_both_models_the_same_is_the_least(loss):
    """0 with the bucket, and no direction is better."""
    weight = torch.randn(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hidden = torch.linalg.solve(weight, torch.randn(40, 5, dtype=torch.float64)).t()
    case = make_case(teacher_NV=(hidden @ weight.t()).numpy(), rows=5, vocabulary=40)
    leaf = hidden.clone().requires_grad_()
    total = loss_of(case, (leaf, weight, None), [term(loss, tail="bucket")])
    assert abs(total) < 1e-12
    if loss != "tvd":  # which has a corner there
        assert torch.autograd.grad(total, leaf)[0].abs().max() < 1e-7
    assert loss_of(case, (leaf + 0.1, weight, None), [term(loss, tail="bucket")]) > 1e-6


SMOOTHED = [("ce", 1.0, 1.0, "none", {"smoothing": 0.2})]


@pytest.mark.parametrize("block_rows", [1, 3, 100])
@pytest.mark.parametrize("softcap", [None, 2.5])
def test_label_smoothing_equals_the_twin(block_rows, softcap):
    options = HeadOptions(block_rows=block_rows, transform=LogitTransform(softcap=softcap))
    compare(make_case(min_kept=1), student(), SMOOTHED, options)
    mixed = [*SMOOTHED, term("rkl", tail="bucket", weight=0.3), term("fkl", 2.0)]
    compare(make_case(min_kept=1), student(), mixed, options)


def test_label_smoothing_is_over_the_teachers_vocabulary_or_a_narrower_students_own():
    compare(make_case(), student(vocabulary=64), SMOOTHED, HeadOptions(vocabulary=50))
    case = make_case()
    case.targets.labels_N.clamp_(max=44)
    narrow = make_case(teacher_NV=case.teacher_NV[:, :45].numpy(), vocabulary=45)
    compare(narrow, student(vocabulary=45), SMOOTHED, HeadOptions(vocabulary=50))


def test_label_smoothing_gradcheck():
    case = make_case(rows=3, vocabulary=9, top_k=3)

    def total(*inputs):
        return loss_of(case, inputs, SMOOTHED, block_rows=2)

    assert torch.autograd.gradcheck(total, student(rows=3, vocabulary=9, width=3), atol=1e-7)


def test_sums_that_were_not_computed_are_asked_for():
    teacher = teacher_signals(make_case().targets, 1.0, torch.float64)
    nothing = torch.zeros(7, dtype=torch.float64)
    bare = StudentSignals(
        logq_NK=teacher.logp_NK,
        logq_NS=teacher.logp_NS,
        logq_tail_N=None,
        logq_label_N=nothing,
        lse_N=nothing,
    )
    with pytest.raises(ValueError, match="tail mass"):
        make_outcomes(teacher, bare, "bucket")
    with pytest.raises(ValueError, match="tail mass"):
        tail_masses(teacher, bare)
    with pytest.raises(ValueError, match="ask the head"):
        LOSSES["ce"].compute(teacher, bare, "none", smoothing=0.1)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_sums_that_a_loss_says_it_reads_are_those_it_reads(loss):
    """With exactly these asked of the head each tail works, which without them would raise."""
    tails = TAILS if LOSSES[loss].soft else ["none"]
    for tail in tails:
        found = objective([term(loss, tail=tail)]).sums[1.0]
        assert found.tail == (tail in LOSSES[loss].tail_mass_with)
        assert loss_of(make_case(), student(), [term(loss, tail=tail)]).isfinite()
