"""What an engine is asked to write, and what it wrote: the same for every engine.

Shapes: L tokens of the prompt, G generated tokens.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from stage1_teacher.samples import Ints, Signals

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One response to write; n samples of one prompt are n of these, each with its own id.

    Attributes:
        id: the id of the sample that it becomes; it seeds the sampling and the tail draws, so that
            a response does not depend on what else is in the batch.
        input_ids: [L] the prompt exactly as the teacher shall see it, generation prompt included.
        max_tokens: the most tokens that may follow.
    """

    id: str
    input_ids: Ints
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How responses are drawn.

    Attributes:
        temperature: 0 takes the most probable token.
        top_p: the smallest set of tokens whose probability reaches it is drawn from; 1: all.
        stop: texts that end a response; they stay in its tokens.
        seed: of all draws; each prompt's own seed is made of it and the prompt's id.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def seed_of(self, prompt_id: str) -> int:
        """The seed of one prompt's draws, 63 bits: the same whatever else is in the batch."""
        digest = hashlib.sha256(f"{self.seed}:{prompt_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A response, and what the teacher knew while it wrote.

    Attributes:
        output_ids: [G] generated tokens, the end-of-sequence token or the tokens of a stop text
            included.
        finish_reason: `stop` (end of sequence or a stop text) or `length` (cut by the budget).
        signals: of the G positions L−1 … L+G−2, each of which predicts one generated token.
    """

    output_ids: Ints
    finish_reason: FinishReason
    signals: Signals
