"""Losses on hidden states through forward, packing and projector against every document alone."""

import numpy as np
import pytest
import torch
import transformers

from schemas.dump_folder import open_dump
from stage2_student.forward import hidden_states, training_forward
from stage2_student.fused_head import HeadOptions
from stage2_student.hidden_matching import NAME, HiddenMatching, map_name
from stage2_student.hidden_terms import HiddenTerm, LayerPair
from stage2_student.objective import Objective, Term
from stage2_student.stream import StreamSettings, open_stream
from tests.stage2_student.hidden_cases import make_hidden_dump, plan, twin_sums
from tests.stage2_student.trainings import SHAPE

PAIRS = tuple(
    LayerPair(student=student, teacher=teacher)
    for student, teacher in (("0", "0"), ("1", "2"), ("2", "4"), ("last", "last"))
)
TWINS = {
    "hidden_mse": lambda s, t, spread: ((s - t) ** 2).mean(),
    "hidden_cosine": lambda s, t, spread: 1 - s @ t / (s.norm() * t.norm()),
    "hidden_normalised": lambda s, t, spread: (((s - t) / spread) ** 2).mean(),
}


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    return make_hidden_dump(
        tmp_path_factory.mktemp("matching") / "dump", layers=("0", "2", "4", "last")
    )


@pytest.fixture
def student():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SHAPE)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def batches(dump, layers=("0", "2", "4", "last"), **given):
    settings = {"rows_per_step": 3, "max_length": 48, "hidden": layers, **given}
    return list(open_stream([open_dump(dump.path)], StreamSettings(**settings)).epoch_batches())


def terms(*projectors):
    """Every loss; the student's own layer 2 before its norm is left to the hooks' own test."""
    rng = np.random.default_rng(0)
    found = [
        HiddenTerm(
            loss=loss, weight=weight, pairs=(PAIRS[0], PAIRS[1], PAIRS[3]), projector=projector
        )
        for (loss, weight), projector in zip(
            (("hidden_mse", 1.0), ("hidden_cosine", 0.5), ("hidden_normalised", 0.2)),
            projectors,
            strict=True,
        )
    ]
    spreads = {layer: rng.uniform(0.5, 2, 32).astype(np.float32) for layer in ("0", "2", "last")}
    return plan(*found, spreads=spreads)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("projectors", [("none",) * 3, ("linear", "none", "linear")])
def test_sums_and_gradients_are_the_twins(dump, student, packing, projectors):
    matching = HiddenMatching(terms(*projectors)).double()
    objective = Objective(
        terms=(Term(loss="ce", weight=0.0, tail="none"),), hidden=matching.plan.terms
    )
    batch = batches(dump, packing=packing)[0]
    assert not packing or len(batch.documents) > len(batch.input_ids)
    sums = twin_sums(student, matching, dump, batch, TWINS)
    twin = sum(w * s for w, s in zip((1.0, 0.5, 0.2), sums, strict=True))
    leaves = [p for p in (*student.parameters(), *matching.parameters())]
    expected = torch.autograd.grad(twin, leaves, allow_unused=True)
    with training_forward(student, HeadOptions(), matching):
        total, found = student(batch, objective)
        gradients = torch.autograd.grad(total, leaves)
    torch.testing.assert_close(total, twin.to(total.dtype), rtol=1e-8, atol=0)
    torch.testing.assert_close(found[1:], torch.stack(sums).detach(), rtol=1e-8, atol=0)
    for ours, theirs in zip(gradients, expected, strict=True):
        if theirs is None:  # the head, which gets the gradient of 0 times cross-entropy
            assert not ours.any()
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_the_state_of_the_last_layer_is_before_the_norm(dump, student):
    pairs = (LayerPair(student="2", teacher="4"),)
    matching = HiddenMatching(
        plan(HiddenTerm(loss="hidden_mse", pairs=pairs, projector="none"))
    ).double()
    batch = batches(dump)[0]
    with training_forward(student, HeadOptions(), matching):
        _, found = student(batch, _objective(matching))
    document = batch.documents[0]
    ids = torch.from_numpy(dump.samples[document.id].input_ids.astype(np.int64))[None]
    seen = []
    student.model.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        expected = 0.0
        for document in batch.documents:
            ids = torch.from_numpy(dump.samples[document.id].input_ids.astype(np.int64))[None]
            student(ids)
            for target in range(*document.targets):
                place = int(batch.targets.rows_N[target]) % batch.input_ids.shape[1]
                t = dump.hidden[document.id]["4"][place - document.start].astype(np.float64)
                s = seen[-1][0, place - document.start]
                expected += float(((s - torch.from_numpy(t)) ** 2).mean())
    assert float(found[-1]) == pytest.approx(expected, rel=1e-8)


def _objective(matching):
    return Objective(terms=(Term(loss="ce", tail="none"),), hidden=matching.plan.terms)


def test_positions_keep_their_states_whatever_is_trained_on(dump):
    """bf16 stores these states exactly, so a batch has them exactly."""
    for given in ({}, {"train_on": ("response",)}, {"packing": False}):
        seen = 0
        for batch in batches(dump, **given):
            for document in batch.documents:
                for target in range(*document.targets):
                    place = int(batch.targets.rows_N[target]) % batch.input_ids.shape[1]
                    for layer, states in batch.states.items():
                        expected = dump.hidden[document.id][layer][place - document.start]
                        assert states[target].tolist() == expected.tolist()
                        seen += 1
        assert seen > 100


def test_a_projected_dump_is_compared_after_its_own_projection(tmp_path, student):
    from schemas.projection import read_projection
    from stage1_teacher.hidden_policy import with_widths
    from tests.dumps import hidden_policy
    from tests.stage2_student.trainings import make_dump

    capture = with_widths(hidden_policy("bf16", ("last",), 32), 32, 8)
    narrow = make_dump(tmp_path / "narrow", capture=capture)
    opened = open_dump(narrow.path)
    matrix = read_projection(opened)
    term = HiddenTerm(loss="hidden_mse", pairs=(PAIRS[3],), projector="none")
    matching = HiddenMatching(plan(term, stored_width=8, projection=matrix))
    batch = batches(narrow, layers=("last",))[0]
    with training_forward(student, HeadOptions(), matching):
        _, found = student(batch, _objective(matching))
        hidden = hidden_states(student, batch.input_ids, batch.position_ids)
    s = hidden.flatten(0, 1)[batch.targets.rows_N] @ torch.tensor(matrix).double()
    expected = ((s - batch.states["last"].double()) ** 2).mean(1).sum()
    assert s.shape[1] == 8
    torch.testing.assert_close(found[-1], expected.detach(), rtol=1e-6, atol=0)


def test_projectors_are_orthonormal_and_the_seeds_own():
    term = HiddenTerm(loss="hidden_mse", pairs=PAIRS, projector="linear")
    one, again = (HiddenMatching(plan(term, stored_width=8)) for _ in range(2))
    other = HiddenMatching(plan(term, stored_width=8, seed=1))
    weight = one.maps[map_name(PAIRS[0])].weight
    assert weight.shape == (8, 32)
    torch.testing.assert_close(weight @ weight.t(), torch.eye(8), rtol=0, atol=1e-5)
    assert torch.equal(weight, again.maps[map_name(PAIRS[0])].weight)
    assert not torch.equal(weight, other.maps[map_name(PAIRS[0])].weight)


def test_terms_share_the_projector_of_a_pair():
    both = [
        HiddenTerm(loss=loss, pairs=PAIRS[:2], projector="linear")
        for loss in ("hidden_mse", "hidden_cosine")
    ]
    assert len(list(HiddenMatching(plan(*both)).parameters())) == 2


def test_nothing_of_it_stays_with_the_student(dump, student):
    before = set(student.state_dict())
    matching = HiddenMatching(plan(HiddenTerm(loss="hidden_mse", pairs=PAIRS, projector="linear")))
    with training_forward(student, HeadOptions(), matching):
        assert any(name.startswith(NAME) for name in student.state_dict())
    assert set(student.state_dict()) == before
    assert not student.model.layers[0]._forward_hooks
    assert not student.model.layers[0]._forward_pre_hooks


def test_a_batch_of_padding_costs_nothing_and_has_gradients(dump, student):
    """A rank without rows must still take part in the sum of gradients."""
    from stage2_student.stream import Place

    stream = open_stream(
        [open_dump(dump.path)],
        StreamSettings(rows_per_step=2, hidden=("0", "2", "4", "last")),
        Place(rank=0, world_size=3),
    )
    batch = next(iter(stream.epoch_batches()))
    assert not batch.documents
    matching = HiddenMatching(terms("linear", "none", "linear")).double()
    with training_forward(student, HeadOptions(), matching):
        total, _ = student(batch, _objective(matching))
        gradients = torch.autograd.grad(total, list(matching.parameters()))
    assert total.item() == 0
    assert all(not gradient.any() for gradient in gradients)
