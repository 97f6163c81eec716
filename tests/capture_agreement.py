"""Compares captured signals with the twin's, allowing what rounding may do and nothing else."""

import numpy as np

from stage1_teacher.samples import Ragged, Signals


def assert_agree(found: Signals, twin: Signals, *, atol: float = 2e-5, same: float = 1.0) -> None:
    """Numbers within `atol` nats; ids equal at a share `same` of the positions."""
    np.testing.assert_allclose(found.max_logit, twin.max_logit, atol=atol, rtol=1e-6)
    np.testing.assert_allclose(found.token_logprobs, twin.token_logprobs, atol=atol, rtol=1e-5)
    assert found.tail_logmass.shape == twin.tail_logmass.shape
    close = np.isclose(found.tail_logmass, twin.tail_logmass, atol=atol, rtol=1e-4).all(-1)
    assert close.mean() >= same
    for ours, theirs in ((found.topk, twin.topk), (found.tail, twin.tail)):
        assert same_positions(ours, theirs, atol).mean() >= same


def same_positions(ours: Ragged, theirs: Ragged, atol: float = 2e-5) -> np.ndarray:
    """[P] whether a position has the same ids in the same order, and logits within `atol`."""
    assert len(ours.offsets) == len(theirs.offsets)
    pairs = zip(entries(ours), entries(theirs), strict=True)
    return np.array(
        [
            np.array_equal(ids, other) and np.allclose(logits, gaps, atol=atol, rtol=1e-5)
            for (ids, logits), (other, gaps) in pairs
        ],
        bool,
    )


def entries(ragged: Ragged) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and logits per position."""
    cuts = ragged.offsets[1:-1]
    return list(zip(np.split(ragged.ids, cuts), np.split(ragged.logits, cuts), strict=True))
