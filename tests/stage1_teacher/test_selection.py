import pytest
import torch

from schemas.manifest import Capture
from stage1_teacher.selection import block_width, select


@pytest.mark.parametrize(
    ("vocabulary", "top_k", "width"),
    [(49_152, 64, 128), (152_064, 128, 128), (1000, 64, 8), (64, 64, 1), (65, 64, 1), (5, 1, 128)],
)
def test_there_are_at_least_as_many_blocks_as_entries(vocabulary, top_k, width) -> None:
    assert block_width(vocabulary, Capture(top_k=top_k)) == width
    assert -(-vocabulary // width) >= top_k


@pytest.mark.parametrize(
    ("vocabulary", "top_k", "width"),
    [(49_152, 8, 128), (49_152, 64, 64), (49_152, 128, 32), (152_064, 64, 128), (64, 64, 1)],
)
def test_a_fixed_number_of_entries_is_in_few_of_all_blocks(vocabulary, top_k, width) -> None:
    assert block_width(vocabulary, Capture(min_prob=None, top_k=top_k)) == width


@pytest.mark.parametrize("capture", [Capture(), Capture(min_prob=None), Capture(min_prob=1e-9)])
def test_few_blocks_are_visited(capture: Capture) -> None:
    logits = torch.randn(4, 400, 128, generator=torch.manual_seed(0)) * 3
    maxima = logits.amax(-1)
    totals = (logits.flatten(1) - maxima.amax(-1, keepdim=True)).exp().sum(-1).double()
    found = select(logits, maxima, totals, capture)
    assert len(found.blocks_M) <= 4 * capture.top_k
    assert found.rest_MW.shape == (len(found.blocks_M), 128)
    expected = logits.flatten(1).topk(64).indices
    for row in range(4):
        ids = found.ids_E[found.rows_E == row]
        torch.testing.assert_close(ids, expected[row, : len(ids)])
    taken = found.rest_MW.isneginf().sum()
    assert taken == len(found.ids_E) == len(found.logits_E)


def test_the_most_probable_entry_is_kept_though_below_the_threshold() -> None:
    logits = torch.zeros(1, 8, 128)
    logits[0, 5, 17] = 0.1
    totals = (logits - 0.1).exp().sum((1, 2)).double()
    found = select(logits, logits.amax(-1), totals, Capture(min_prob=0.5, top_k=8))
    assert found.ids_E.tolist() == [5 * 128 + 17]
