"""Values and gradients of the fused head and its losses against the dense twin."""

import pytest
import torch

from stage2_student.distillation import distillation_loss, read_head
from stage2_student.fused_head import HeadOptions
from stage2_student.fused_products import _COLUMNS
from stage2_student.logit_transform import LogitTransform
from stage2_student.objective import Term
from stage2_student.signals import teacher_signals
from tests.stage2_student.dense_twin import dense_kl, make_case, twin_loss, twin_soft
from tests.stage2_student.head_cases import (
    compare,
    constant_stretches,
    dense_logits,
    objective,
    student,
)

TAILS = ["sample", "bucket", "none", "renormalise"]
MIXES = {
    "fkl": [("fkl", 1.0, 1.0, "sample")],
    "bucket": [("fkl", 1.0, 1.0, "bucket")],
    "none": [("fkl", 1.0, 1.0, "none")],
    "renormalise": [("fkl", 1.0, 1.0, "renormalise")],
    "warm": [("fkl", 1.0, 2.0, "sample")],
    "warm bucket": [("fkl", 1.0, 2.0, "bucket")],
    "ce": [("ce", 1.0, 1.0, "none")],
    "mix": [("fkl", 0.7, 1.0, "sample"), ("ce", 0.3, 1.0, "none")],
    "mix bucket": [("fkl", 0.7, 1.0, "bucket"), ("ce", 0.3, 1.0, "none")],
    "warm mix": [("fkl", 0.7, 2.0, "sample"), ("ce", 0.3, 1.0, "none")],
    "warm mix bucket": [("fkl", 0.7, 2.0, "bucket"), ("ce", 0.3, 1.0, "none")],
}


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


@pytest.mark.parametrize("tail", TAILS)
def test_one_kept_entry(tail):
    case = make_case(top_k=1)
    if tail == "renormalise":
        loss = distillation_loss(*student()[:2], case.targets, objective([("fkl", 1.0, 1.0, tail)]))
        assert loss.total.abs() < 1e-12
        return
    compare(case, student(), [("fkl", 1.0, 1.0, tail)])


@pytest.mark.parametrize("tail", TAILS[:3])
@pytest.mark.parametrize("sharpness", [400.0, 1e-3])
def test_tail_mass_at_its_floor_and_near_one(tail, sharpness):
    """A sure teacher has its tail at the floor of 1e-9; a flat one has nearly everything there."""
    case = make_case(top_k=2, vocabulary=400, sharpness=sharpness)
    mass = case.targets.tail_logmass_N[1.0].exp()
    assert mass.min() < 1.1e-9 if sharpness > 1 else mass.min() > 0.99
    compare(case, student(vocabulary=400), [("fkl", 1.0, 1.0, tail)], rtol=1e-7)


def test_a_tail_mass_of_exactly_one_stays_finite():
    case = make_case(dtype=torch.float32)
    case.targets.tail_logmass_N[1.0].zero_()
    loss = distillation_loss(*student(dtype=torch.float32)[:2], case.targets,
                             objective(MIXES["mix bucket"]))  # fmt: skip
    assert loss.total.isfinite()


@pytest.mark.parametrize("mix", ["fkl", "bucket", "warm mix"])
def test_a_student_without_any_mass_where_it_counts_stays_finite(mix):
    """Logits 1000 apart: q underflows at the kept entries, log q does not."""
    case = make_case(dtype=torch.float32)
    hidden, weight, bias = student(dtype=torch.float32)
    with torch.no_grad():
        bias[7] = 1000
    loss = distillation_loss(hidden, weight, case.targets, objective(MIXES[mix]), bias_V=bias)
    gradients = torch.autograd.grad(loss.total, [hidden, weight, bias])
    assert loss.total.isfinite()
    assert loss.total > 100
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_no_positions_give_zero_and_zero_gradients():
    inputs = student(rows=0)
    case = make_case(rows=3)
    empty = case.targets.block(slice(0, 0))
    ours = distillation_loss(*inputs[:2], empty, objective(MIXES["warm mix"]), bias_V=inputs[2])
    assert ours.total == 0
    assert ours.weight_sum == 0
    assert set(ours.terms) == {"fkl", "ce"}
    for gradient, leaf in zip(torch.autograd.grad(ours.total, inputs), inputs, strict=True):
        assert torch.equal(gradient, torch.zeros_like(leaf))


def test_positions_of_weight_zero_do_not_count():
    case = make_case()
    case.targets.weights_N[2:5] = 0
    hidden, weight, bias = student()
    ours = distillation_loss(hidden, weight, case.targets, objective(MIXES["mix"]))
    (gradient,) = torch.autograd.grad(ours.total, hidden)
    assert torch.equal(gradient[2:5], torch.zeros(3, 5, dtype=torch.float64))
    assert (gradient[[0, 1, 5, 6]] != 0).any(dim=1).all()
    compare(case, (hidden, weight, bias), MIXES["mix"])


def test_terms_are_logged_plain_and_the_total_has_weights_and_t_squared():
    case = make_case()
    ours = compare(case, student(), MIXES["warm mix"])
    expected = 0.7 * 4 * ours.terms["fkl"] + 0.3 * ours.terms["ce"]
    torch.testing.assert_close(ours.total.detach(), expected)
    assert not ours.terms["fkl"].requires_grad
    torch.testing.assert_close(ours.weight_sum, case.targets.weights_N.sum())


def test_a_term_of_weight_zero_is_logged_and_not_learned():
    case, inputs = make_case(), student()
    alone = compare(case, inputs, MIXES["fkl"])
    logged = compare(case, inputs, [*MIXES["fkl"], ("ce", 0.0, 1.0, "none")])
    torch.testing.assert_close(alone.total, logged.total)
    assert logged.terms["ce"] > 0


@pytest.mark.parametrize("frozen", [(0,), (1, 2), (0, 1), (0, 2), (1,)])
def test_frozen_inputs_get_no_gradient_and_change_no_other(frozen):
    case = make_case()
    inputs, free = student(), student()
    for index in frozen:
        inputs[index].requires_grad_(False)
    for leaves in (inputs, free):
        distillation_loss(
            *leaves[:2], case.targets, objective(MIXES["mix"]), bias_V=leaves[2]
        ).total.backward()
    for index, (ours, reference) in enumerate(zip(inputs, free, strict=True)):
        if index in frozen:
            assert ours.grad is None
        else:
            torch.testing.assert_close(ours.grad, reference.grad)


def test_without_gradients_only_the_forward_pass_runs(monkeypatch):
    case = make_case()
    hidden, weight, _ = student()
    terms = objective(MIXES["warm mix bucket"])
    expected = distillation_loss(hidden, weight, case.targets, terms)
    monkeypatch.setattr("stage2_student.fused_head.HeadGradients", None)
    with torch.no_grad():
        ours = distillation_loss(hidden, weight, case.targets, terms)
    assert not ours.total.requires_grad
    torch.testing.assert_close(ours.total, expected.total.detach())
    torch.testing.assert_close(ours.terms, expected.terms)


def test_accumulated_and_used_twice_in_a_step_with_a_tied_weight():
    """One matrix is embedding and head, the loss is called on two halves: gradients add up."""
    case = make_case(rows=8)
    table = torch.randn(50, 5, dtype=torch.float64, requires_grad=True)
    ids = torch.arange(8) * 3
    terms = objective(MIXES["mix"])
    for half in (slice(0, 3), slice(3, 8)):
        hidden = torch.tanh(table[ids[half]])
        distillation_loss(hidden, table, case.targets.block(half), terms).total.backward()
    accumulated = table.grad
    table.grad = None
    hidden = torch.tanh(table[ids])
    total = distillation_loss(hidden, table, case.targets, terms).total
    again = distillation_loss(hidden, table, case.targets, terms).total
    (total + again).backward()
    torch.testing.assert_close(table.grad, 2 * accumulated)
    twin = twin_loss(case, torch.tanh(table[ids]) @ table.t(), MIXES["mix"])
    torch.testing.assert_close(accumulated, torch.autograd.grad(twin, table)[0])


def test_fp32_is_as_exact_as_fp32_can_be():
    exact, single = make_case(rows=40, vocabulary=500), student(40, 500, 16, dtype=torch.float32)
    case = make_case(rows=40, vocabulary=500, dtype=torch.float32)
    double = [tensor.detach().double().requires_grad_() for tensor in single]
    ours = distillation_loss(
        *single[:2], case.targets, objective(MIXES["warm mix bucket"]), bias_V=single[2]
    )
    logits = dense_logits(*double, HeadOptions())
    twin = twin_loss(exact, logits, MIXES["warm mix bucket"])
    assert ours.total.dtype == torch.float32
    torch.testing.assert_close(ours.total.double(), twin, rtol=1e-5, atol=0)
    pairs = zip(
        torch.autograd.grad(ours.total, single), torch.autograd.grad(twin, double), strict=True
    )
    for gradient, reference in pairs:
        assert gradient.dtype == torch.float32
        difference = (gradient.double() - reference).abs().max()
        assert difference < 3e-6 * reference.abs().max()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("mix", ["fkl", "mix bucket", "ce"])
def test_bf16_is_no_worse_than_the_dense_way_in_bf16(autocast, mix, monkeypatch):
    """The tolerance is the dense twin's own error when its product runs in bf16, times 1.5."""
    monkeypatch.setitem(_COLUMNS, "cpu", 128)
    terms, rows, vocabulary, width = MIXES[mix], 64, 300, 32
    exact = make_case(rows, vocabulary)
    case = make_case(rows, vocabulary, dtype=torch.float32)
    low = student(rows, vocabulary, width, dtype=torch.bfloat16, scale=0.5)[:2]
    double = [tensor.detach().double().requires_grad_() for tensor in low]
    twin = twin_loss(exact, double[0] @ double[1].t(), terms)
    reference = torch.autograd.grad(twin, double)
    dense = twin_loss(exact, (low[0] @ low[1].t()).double(), terms)
    dense_gradients = torch.autograd.grad(dense, low)
    if autocast:
        low = [tensor.detach().float().requires_grad_() for tensor in low]
    options = HeadOptions(block_rows=20)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        ours = distillation_loss(*low, case.targets, objective(terms), options=options)
    assert ours.total.dtype == torch.float32
    bound = 1.5 * (dense.double() - twin).abs() + 1e-4 * twin.abs()
    assert (ours.total.double() - twin).abs() < bound
    gradients = torch.autograd.grad(ours.total, low)
    for gradient, rough, best, leaf in zip(gradients, dense_gradients, reference, low, strict=True):
        assert gradient.dtype == leaf.dtype
        assert (gradient.double() - best).norm() < 1.5 * (rough.double() - best).norm()


def test_float64_stays_float64_under_autocast():
    case, (hidden, weight, _) = make_case(), student()
    expected = distillation_loss(hidden, weight, case.targets, objective(MIXES["mix"])).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = distillation_loss(hidden, weight, case.targets, objective(MIXES["mix"])).total
    assert torch.equal(ours, expected)


def test_no_tensor_over_all_positions_and_the_vocabulary():
    """The largest tensor that is made has a block's rows, whatever N is."""
    case = make_case(rows=64, vocabulary=128, min_kept=1)
    hidden, weight, _ = student(64, 128)
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(out):
                if isinstance(tensor, torch.Tensor):
                    sizes.append(tensor.untyped_storage().nbytes() // tensor.element_size())
            return out

    with Sizes():
        terms = objective(MIXES["warm mix bucket"])
        options = HeadOptions(block_rows=8)
        distillation_loss(hidden, weight, case.targets, terms, options=options).total.backward()
    assert sizes
    assert max(sizes) == 8 * 128


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


def test_wrong_number_of_hidden_rows_is_refused():
    hidden, weight, _ = student(rows=6)
    with pytest.raises(ValueError, match=r"7 target positions.*rows_N"):
        distillation_loss(hidden, weight, make_case().targets, objective(MIXES["fkl"]))
