"""Where rationale and answer stand among the tokens of a response.

Shapes: G generated tokens.
"""

from collections.abc import Sequence
from itertools import accumulate, groupby

from stage1_teacher.parsed_answer import Parsed
from stage1_teacher.samples import Segment

RATIONALE, ANSWER, RESPONSE = "rationale", "answer", "response"


def response_segments(
    pieces: Sequence[str], parsed: Parsed | None, start: int
) -> tuple[Segment, ...]:
    """Segments that tile the tokens of a response.

    A token belongs to what its last character is part of, so one over a border belongs to the later
    segment. A token that begins a character belongs where that character does; what stands behind
    the text (the end-of-sequence token) is `response`.

    Args:
        pieces: [G] what each token adds to the text.
        parsed: spans of characters of that text; None where no answer was found.
        start: where the response begins in its sequence.
    """
    ends = list(accumulate(map(len, pieces)))
    places = [max(end - 1, end - len(piece)) for end, piece in zip(ends, pieces, strict=True)]
    kinds = [_kind(place, parsed) for place in places]
    segments: list[Segment] = []
    for kind, run in groupby(kinds):
        count = sum(1 for _ in run)
        segments.append(Segment(kind=kind, start=start, end=start + count))
        start += count
    return tuple(segments)


def _kind(place: int, parsed: Parsed | None) -> str:
    """What the character at `place` is part of."""
    if parsed is None:
        return RESPONSE
    if parsed.answer[0] <= place < parsed.answer[1]:
        return ANSWER
    rationale = parsed.rationale
    return RATIONALE if rationale and rationale[0] <= place < rationale[1] else RESPONSE
