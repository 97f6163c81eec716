import pytest
import torch

from schemas.errors import ModelError
from stage2_student.forward import hidden_states
from stage2_student.forward_proof import prove_logits, separates_documents
from stage2_student.logit_transform import LogitTransform, logit_transform
from tests.stage2_student.architectures import CONFIGS, SEPARATES, build


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_proven_and_what_packing_does_is_seen(name):
    model = build(name).train()
    prove_logits(model, logit_transform(model.config))
    assert separates_documents(model) == (name in SEPARATES)
    assert model.training


@pytest.mark.parametrize("name", ["gemma2", "granite"])
def test_a_transform_that_is_not_known_is_refused(name):
    with pytest.raises(ModelError, match="does something to its logits"):
        prove_logits(build(name), LogitTransform())


@pytest.mark.parametrize("name", [n for n in SEPARATES if n != "mixtral"])  # has no float64
def test_nothing_crosses_documents(name):
    """Three documents and padding in a row, some longer than a sliding window of 4."""
    model = build(name).double().eval()
    lengths, padding = [9, 1, 13], 5
    generator = torch.Generator().manual_seed(1)
    documents = [torch.randint(1, 97, (n,), generator=generator) for n in lengths]
    ids = torch.cat([*documents, torch.zeros(padding, dtype=torch.int64)])[None]
    positions = torch.cat([*map(torch.arange, lengths), torch.zeros(padding).long()])[None]
    with torch.no_grad():
        packed = hidden_states(model, ids, positions)[0]
        alone = [hidden_states(model, document[None], None)[0] for document in documents]
    for found, expected in zip(packed.split([*lengths, padding]), alone, strict=False):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_the_proof_sees_a_leak():
    """A model that is not told where documents begin."""
    model = build("llama")
    inner = model.base_model.forward

    def forgetful(input_ids=None, position_ids=None, **others):
        return inner(input_ids=input_ids, **others)

    model.base_model.forward = forgetful
    assert not separates_documents(model)
