"""Which rows are held out: decided per document, by its id alone.

A document is held out when the first 8 bytes of sha256("holdout:" + document id), as a fraction of
2^64, are below the share. So a dump that grows, is merged or is shuffled keeps its split, a larger
share contains a smaller one, and all windows of a text fall on the same side.
"""

import hashlib
import re
from typing import Literal

Part = Literal["train", "held_out", "all"]
"""Which side of the split is read."""

_WINDOW = re.compile(r"/w\d+$")


def document_id(sample_id: str) -> str:
    """The id of the text that a sample is of: without the `/w<k>` of a window."""
    return _WINDOW.sub("", sample_id)


def is_held_out(sample_id: str, share: float) -> bool:
    """Whether a sample belongs to the held-out `share` (0 to 1) of the documents."""
    name = f"holdout:{document_id(sample_id)}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") < share * 2.0**64


def belongs_to(part: Part, sample_id: str, share: float) -> bool:
    """Whether a sample is on that side of the split."""
    return part == "all" or is_held_out(sample_id, share) == (part == "held_out")
