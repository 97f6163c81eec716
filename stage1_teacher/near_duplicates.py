"""Texts that say nearly the same in nearly the same words.

Two texts are near-duplicates when the Jaccard similarity of their character 5-grams, white space,
case and Unicode forms aside, reaches a threshold. MinHash with locality-sensitive hashing (Broder
1997; Indyk and Motwani 1998; the library is rensa) finds candidates; the similarity itself is then
computed exactly, so that chance can only miss a pair, never invent one. The bands are chosen so
that a pair at the threshold is missed less often than once in ten thousand times.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from stage1_teacher.normalised_text import normalised

_GRAM = 5
_PERMUTATIONS = 128
_MISSED = 1e-4


@lru_cache(maxsize=1024)
def grams(text: str) -> frozenset[str]:
    """The character 5-grams of a text; a shorter text is one itself."""
    plain = normalised(text)
    return frozenset(plain[i : i + _GRAM] for i in range(max(1, len(plain) - _GRAM + 1)))


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of two texts' 5-grams: 1 for equal texts, 0 for nothing in common."""
    left, right = grams(one), grams(other)
    return len(left & right) / len(left | right)


class SeenTexts:
    """Texts seen so far, searched for near-duplicates of a new one.

    Args of the constructor:
        threshold: similarity from which on two texts are near-duplicates; above 0, at most 1.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._rensa = _rensa()
        self._index = self._rensa.RMinHashLSH(threshold, _PERMUTATIONS, _bands(threshold))
        self._texts: list[str] = []

    def add(self, text: str) -> int | None:
        """Adds a text, unless it nearly repeats one: then gives that one's number.

        Texts are numbered in the order in which they were added, from 0.
        """
        hashed = self._rensa.RMinHash(num_perm=_PERMUTATIONS, seed=0)
        hashed.update(sorted(grams(text)))
        found = self._repeated(text, hashed)
        if found is None:
            self._index.insert(len(self._texts), hashed)
            self._texts.append(text)
        return found

    def _repeated(self, text: str, hashed: Any) -> int | None:
        candidates = sorted(self._index.query(hashed))
        near = (n for n in candidates if similarity(text, self._texts[n]) >= self._threshold)
        return next(near, None)


def distinct(texts: Sequence[str], threshold: float | None = None) -> list[bool]:
    """Which texts to keep: those that repeat no earlier one that is kept.

    Without a threshold only texts that are equal, white space, case and Unicode forms aside, repeat
    each other; with one, near-duplicates do. For the few samples of one prompt every pair is
    compared.
    """
    kept: dict[str, None] = {}
    return [_is_new(normalised(text), kept, threshold) for text in texts]


def _is_new(plain: str, kept: dict[str, None], threshold: float | None) -> bool:
    repeated = plain in kept or (
        threshold is not None and any(similarity(plain, other) >= threshold for other in kept)
    )
    if not repeated:
        kept[plain] = None
    return not repeated


def _rensa() -> Any:
    import rensa  # type: ignore[import-untyped]

    return rensa


def _bands(threshold: float) -> int:
    """The fewest bands of 128 hashes that miss a pair at the threshold rarely enough."""
    rows = [1 << n for n in range(_PERMUTATIONS.bit_length())]
    enough = [r for r in rows if (1 - threshold**r) ** (_PERMUTATIONS // r) <= _MISSED]
    return _PERMUTATIONS // max(enough, default=1)
