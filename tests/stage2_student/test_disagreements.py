"""Guesses in words: a token's text is what it adds to the text before it."""

from stage2_student.disagreements import _text_of


def metaspace():
    """A tokenizer whose decoder strips the first blank, as SentencePiece does."""
    from tokenizers import Tokenizer, decoders, models

    words = ["▁the", "▁river", "s", "<0xE2>", "<0x82>", "<0xAC>"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "s"))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def test_a_leading_blank_is_kept() -> None:
    assert metaspace().decode([1]) == "river"
    assert _text_of(1, [0], metaspace()) == " river"
    assert _text_of(2, [0, 1], metaspace()) == "s"


def test_a_piece_of_a_character_is_shown_somehow() -> None:
    """Never an exception; the last byte of three may show the character or a replacement."""
    assert _text_of(3, [0], metaspace())
    assert _text_of(5, [0, 3, 4], metaspace())
