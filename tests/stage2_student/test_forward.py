import pytest
import torch

from schemas.dump_folder import open_dump
from stage2_student.forward import training_forward
from stage2_student.fused_head import HeadOptions
from stage2_student.logit_transform import logit_transform
from stage2_student.objective import make_objective
from stage2_student.stream import StreamSettings, open_stream
from tests.dumps import write_dump
from tests.stage2_student.architectures import SEPARATES, build


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    path = tmp_path_factory.mktemp("forward") / "dump"
    write_dump(path, vocabulary=97)
    stream = open_stream([open_dump(path)], StreamSettings(rows_per_step=3, max_length=48))
    return next(stream.epoch_batches(0))


def options(model):
    return HeadOptions(transform=logit_transform(model.config), vocabulary=97)


def dense_cross_entropy(model, batch):
    """The twin: documents one by one, full logits, no packing, no fusing."""
    total = 0.0
    for document in batch.documents:
        place = slice(document.start, document.start + document.length)
        logits = model(batch.input_ids[document.row, place][None], use_cache=False).logits[0]
        first, last = document.targets
        width = batch.input_ids.shape[1]
        at = batch.targets.rows_N[first:last] - document.row * width - document.start
        labels = batch.targets.labels_N[first:last]
        total += torch.nn.functional.cross_entropy(logits[at].float(), labels, reduction="sum")
    return total


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    path = tmp_path_factory.mktemp("unpacked") / "dump"
    write_dump(path, vocabulary=97)
    settings = StreamSettings(rows_per_step=3, max_length=48, packing=False)
    return next(open_stream([open_dump(path)], settings).epoch_batches(0))


@pytest.mark.parametrize("name", [*SEPARATES, "mamba"])
def test_loss_and_gradients_are_those_of_plain_logits_of_single_documents(name, batch, unpacked):
    batch = batch if name in SEPARATES else unpacked
    model = build(name).eval()
    expected = dense_cross_entropy(model, batch)
    expected.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    with training_forward(model, options(model)):
        total, terms = model(batch, make_objective("ce"))
        total.backward()
    assert torch.allclose(total, expected, rtol=1e-5)
    assert torch.allclose(terms, expected, rtol=1e-5)
    for parameter, gradient in gradients.items():
        found = model.get_parameter(parameter).grad
        assert torch.allclose(found, gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_gradient_checkpointing_changes_nothing(batch):
    found = []
    for checkpointing in (False, True):
        model = build("llama").train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        with training_forward(model, options(model)):
            model(batch, make_objective())[0].backward()
        found.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_afterwards_the_model_is_as_before(batch, tmp_path):
    model = build("llama").eval()
    ids = torch.arange(6)[None]
    before = model(ids).logits
    with training_forward(model, options(model)):
        model(batch, make_objective())
    assert torch.equal(model(ids).logits, before)
    assert not {"forward"} & (set(model.__dict__) | set(model.lm_head.__dict__))
    assert model.generate(ids, max_new_tokens=2, do_sample=False).shape == (1, 8)


def test_a_head_without_a_task_gives_logits(batch):
    model = build("llama").eval()
    hidden = torch.randn(2, 32)
    expected = model.lm_head(hidden)
    with training_forward(model, options(model)):
        assert torch.equal(model.lm_head(hidden), expected)
