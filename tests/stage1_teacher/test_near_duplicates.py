import random

import pytest

from stage1_teacher.near_duplicates import SeenTexts, distinct, similarity


def shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(len(text) - 4)}


def test_similarity_is_jaccard_over_five_characters() -> None:
    one, other = "the cat sat on the mat", "the cat sat on the hat"
    left, right = shingles(one), shingles(other)
    assert similarity(one, other) == len(left & right) / len(left | right)
    assert similarity("The  Cat", "the cat") == 1
    assert similarity("abc", "abc") == 1
    assert similarity("abc", "abd") == 0


def test_samples_of_one_prompt() -> None:
    texts = ["It is 4.", "it is  4.", "It is 5.", "So it must be four, I think.", "It is 4."]
    assert distinct(texts) == [True, False, True, True, False]
    assert distinct(texts, 0.3) == [True, False, False, True, False]
    assert distinct([]) == []


def sentences(count: int, rng: random.Random) -> list[str]:
    words = [f"w{rng.randrange(10**6)}" for _ in range(400)]
    return [" ".join(rng.choices(words, k=30)) for _ in range(count)]


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_search_agrees_with_comparing_every_pair(threshold: float) -> None:
    rng = random.Random(0)
    texts = sentences(150, rng)
    for text in texts[:75]:
        words = text.split()
        for place in rng.sample(range(30), rng.randrange(6)):
            words[place] = "changed"
        texts.append(" ".join(words))
    seen = SeenTexts(threshold)
    kept: list[str] = []
    for text in texts:
        expected = next((n for n, k in enumerate(kept) if similarity(text, k) >= threshold), None)
        assert seen.add(text) == expected
        if expected is None:
            kept.append(text)
    assert len(kept) < len(texts)
