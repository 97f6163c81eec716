"""Every loss of LOSSES against its formula over the whole vocabulary, in fp64 and by hand."""

import pytest
import torch

from stage2_student.distillation import distillation_loss
from stage2_student.fused_head import HeadOptions
from stage2_student.logit_transform import LogitTransform
from stage2_student.losses import LOSSES
from stage2_student.outcomes import make_outcomes, tail_masses
from stage2_student.signals import StudentSignals, teacher_signals
from tests.stage2_student.dense_twin import LINES, dense_loss, make_case, twin_loss
from tests.stage2_student.head_cases import (
    compare,
    constant_stretches,
    dense_logits,
    objective,
    student,
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


@pytest.mark.parametrize("tail", TAILS[:3])
@pytest.mark.parametrize("loss", SOFT)
def test_one_kept_entry_and_one_position(loss, tail):
    if (loss, tail) == ("logit_mse", "none"):
        total = loss_of(make_case(rows=1, top_k=1), student(rows=1), [term(loss, tail=tail)])
        assert total.abs() < 1e-12  # one entry has no variance
        return
    compare(make_case(rows=1, top_k=1), student(rows=1), [term(loss, tail=tail)])


@pytest.mark.parametrize("loss", SOFT)
def test_no_position_at_all(loss):
    case = make_case(rows=3)
    inputs = student(rows=0)
    targets = case.targets.block(slice(0, 0))
    found = distillation_loss(*inputs[:2], targets, objective([term(loss)]))
    assert found.total == 0
    assert torch.autograd.grad(found.total, inputs[1])[0].abs().max() == 0


@pytest.mark.parametrize("tail", TAILS[:3])
@pytest.mark.parametrize("loss", UNBIASED)
def test_a_sure_teacher_whose_tail_is_at_its_floor(loss, tail):
    """No draw falls into a tail of 1e-9; the student may have much there."""
    case = make_case(top_k=2, vocabulary=40, sharpness=120.0, seed=4)
    assert case.targets.tail_logmass_N[1.0].exp().max() < 1.1e-9
    compare(case, student(vocabulary=40), [term(loss, tail=tail)], rtol=1e-6)


@pytest.mark.parametrize("tail", ["sample", "bucket"])
@pytest.mark.parametrize("loss", SOFT)
def test_a_student_without_mass_where_the_teacher_has_it_stays_finite(loss, tail):
    """Logits 1000 apart in fp32: probabilities underflow, log-probabilities do not."""
    case = make_case(dtype=torch.float32)
    hidden, weight, bias = student(dtype=torch.float32)
    with torch.no_grad():
        bias[7] = 1000
    total = loss_of(case, (hidden, weight, bias), [term(loss, tail=tail)])
    assert total.isfinite()
    for gradient in torch.autograd.grad(total, [hidden, weight, bias]):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("tail", ["sample", "bucket"])
@pytest.mark.parametrize("loss", SOFT)
def test_entries_that_a_student_cannot_say_have_minus_infinity_as_logit(loss, tail):
    """A student wider than the teacher; then one whose bias forbids a token that nobody keeps."""
    case = make_case()
    hidden, weight, bias = student(vocabulary=64)
    compare(case, (hidden, weight, bias), [term(loss, tail=tail)], HeadOptions(vocabulary=50))
    listed = {
        int(i) for ids in (case.targets.ids_NK, case.targets.tail_ids_NS) for i in ids.flatten()
    }
    forbidden = next(i for i in range(50) if i not in {*listed, *case.targets.labels_N.tolist()})
    hidden, weight, bias = student()
    with torch.no_grad():
        bias[forbidden] = -torch.inf
    total = loss_of(case, (hidden, weight, bias), [term(loss, tail=tail)])
    assert total.isfinite()
    assert torch.autograd.grad(total, weight)[0].isfinite().all()


@pytest.mark.parametrize("tail", ["sample", "bucket"])
@pytest.mark.parametrize("loss", SOFT)
def test_a_student_narrower_than_the_teacher_is_taken_as_it_is(loss, tail):
    """Five entries that the teacher all but excludes, and the student does not have."""
    teacher_NV = make_case().teacher_NV
    teacher_NV[:, 45:] = -60
    case = make_case(teacher_NV=teacher_NV.numpy())
    case.targets.labels_N.clamp_(max=44)
    hidden, weight, _ = student(vocabulary=45)
    ours = loss_of(case, (hidden, weight, None), [term(loss, tail=tail)], vocabulary=50)
    narrow = make_case(teacher_NV=teacher_NV[:, :45].numpy())
    twin = twin_loss(narrow, hidden @ weight.t(), [term(loss, tail=tail)])
    torch.testing.assert_close(ours, twin, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(total, weight)[0] for total in (ours, twin)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def value_and_gradient(total, leaf):
    return total.detach().double(), torch.autograd.grad(total, leaf)[0].double()


@pytest.mark.parametrize("loss", SOFT)
def test_fp32_is_as_exact_as_fp32_can_be(loss):
    terms, rows, vocabulary = [term(loss, 2.0)], 48, 300
    exact = make_case(rows, vocabulary)
    case = make_case(rows, vocabulary, dtype=torch.float32)
    single = student(rows, vocabulary, 16, dtype=torch.float32, scale=0.5)
    double = [tensor.detach().double().requires_grad_() for tensor in single]
    ours, gradient = value_and_gradient(loss_of(case, single, terms), single[1])
    logits = dense_logits(*double, HeadOptions())
    twin, reference = value_and_gradient(twin_loss(exact, logits, terms), double[1])
    torch.testing.assert_close(ours, twin, rtol=1e-5, atol=0)
    assert (gradient - reference).abs().max() < 1e-5 * reference.abs().max()


@pytest.mark.parametrize("loss", SOFT)
def test_bf16_is_no_worse_than_the_dense_way_in_bf16(loss):
    """The tolerance is the dense twin's own error when its product runs in bf16, times 1.5."""
    terms, rows, vocabulary = [term(loss, 2.0)], 48, 300
    exact = make_case(rows, vocabulary)
    case = make_case(rows, vocabulary, dtype=torch.float32)
    hidden, weight, _ = student(rows, vocabulary, 16, dtype=torch.bfloat16, scale=0.5)
    best = weight.detach().double().requires_grad_()
    twin, reference = value_and_gradient(
        twin_loss(exact, hidden.detach().double() @ best.t(), terms), best
    )
    dense = twin_loss(exact, (hidden @ weight.t()).double(), terms)
    rough, rough_gradient = value_and_gradient(dense, weight)
    total = loss_of(case, (hidden, weight, None), terms)
    assert total.dtype == torch.float32
    ours, gradient = value_and_gradient(total, weight)
    assert (ours - twin).abs() < 1.5 * (rough - twin).abs() + 1e-4 * twin.abs()
    assert (gradient - reference).norm() < 1.5 * (rough_gradient - reference).norm()


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
