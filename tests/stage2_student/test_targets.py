"""Moving and cutting the teacher's signals."""

import torch

from tests.stage2_student.dense_twin import make_case


def tensors(targets):
    names = [name for name in targets.__dataclass_fields__ if name != "draws_per_unit"]
    for name in names:
        value = getattr(targets, name)
        yield from value.values() if isinstance(value, dict) else [value]


def test_a_block_holds_the_same_rows_of_everything():
    targets = make_case(rows=9).targets
    block = targets.block(slice(3, 5))
    assert block.draws_per_unit == targets.draws_per_unit
    for part, whole in zip(tensors(block), tensors(targets), strict=True):
        assert torch.equal(part, whole[3:5])
        assert part.data_ptr() == whole[3:5].data_ptr()


def test_everything_moves():
    moved = make_case().targets.to("meta")
    assert all(tensor.device.type == "meta" for tensor in tensors(moved))
