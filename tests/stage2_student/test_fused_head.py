"""How rows are cut into blocks, and what may be done with the operator's graph."""

import pytest
import torch

from stage2_student.distillation import distillation_loss
from stage2_student.fused_head import block_size, blocks_of
from stage2_student.objective import make_objective
from tests.stage2_student.dense_twin import make_case


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 2040, 5000])
@pytest.mark.parametrize("most", [1, 7, 512])
def test_blocks_cover_every_row_once_and_are_even(rows, most):
    size = block_size(rows, most, torch.device("cpu"))
    blocks = list(blocks_of(rows, size))
    assert [row for block in blocks for row in range(rows)[block]] == list(range(rows))
    lengths = [block.stop - block.start for block in blocks]
    assert max(lengths) <= most
    assert len(lengths) == max(1, -(-rows // most))


def test_the_default_belongs_to_the_device():
    assert block_size(10**6, None, torch.device("cpu")) <= 512
    assert 2048 < block_size(10**6, None, torch.device("cuda")) <= 4096


def test_second_derivatives_are_refused():
    case = make_case()
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 5, dtype=torch.float64, requires_grad=True)
    total = distillation_loss(hidden, weight, case.targets, make_objective()).total
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(total, hidden, create_graph=True)


def test_a_kept_graph_can_be_used_again():
    case = make_case()
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 5, dtype=torch.float64)
    total = distillation_loss(hidden, weight, case.targets, make_objective()).total
    total.backward(retain_graph=True)
    first = hidden.grad.clone()
    total.backward()
    torch.testing.assert_close(hidden.grad, 2 * first)
