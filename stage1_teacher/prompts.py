"""Corpus rows become samples: rendered, tokenised once, spans exact, windowed or cut.

A text gets the special tokens that the tokenizer's own rule gives it. A conversation, and a prompt
with its response, goes through the teacher's chat template, which writes its special tokens itself.
A teacher without a template sees prompt and response as one text, ended by its EOS token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.errors import ConfigError, CorpusError
from schemas.manifest import Limits
from stage1_teacher.chat_turns import ChatTurns, TextSpan
from stage1_teacher.corpus_rows import CorpusRow, Message
from stage1_teacher.samples import Sample
from stage1_teacher.tokenizer import Encoded, TeacherTokenizer
from stage1_teacher.windows import KINDS, RowTokens, cut, windows

TOO_SHORT = "fewer than two tokens"
NOTHING_TO_LEARN = "no turn of the captured roles"
PROMPT_TOO_LONG = "the prompt fills max_length, so nothing is left to capture"

_KIND_INDEX = {kind: index for index, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSamples:
    """What became of a row.

    Attributes:
        samples: one, several windows, or none.
        cut: whether tokens of the row were left out.
        skipped: why there is no sample, or empty.
    """

    samples: tuple[Sample, ...] = ()
    cut: bool = False
    skipped: str = ""


class Renderer:
    """Makes samples of rows.

    Args of the constructor:
        tokenizer: the teacher's, with the chat template to use.
        limits: longest sequence, what to do about longer ones, roles to capture.
        system_prompt: put before prompts, and before conversations that have none.

    Raises of the constructor:
        ConfigError: a system prompt for a teacher without a chat template.
    """

    def __init__(
        self, tokenizer: TeacherTokenizer, limits: Limits, system_prompt: str | None = None
    ) -> None:
        self._system = system_messages(tokenizer, system_prompt)
        self._tokenizer = tokenizer
        self._limits = limits
        self._turns = ChatTurns(tokenizer, limits.capture_roles)

    def render(self, row: CorpusRow) -> RowSamples:
        """Samples of one row.

        Raises:
            CorpusError: a conversation that the chat template refuses; file and line are named.
        """
        try:
            tokens = self._tokens(row)
        except CorpusError as error:
            raise CorpusError(f"{row.where}: {error}") from error
        if len(tokens) < 2:
            return RowSamples(skipped=TOO_SHORT)
        if not tokens.learned[1:].any():
            return RowSamples(skipped=NOTHING_TO_LEARN)
        return self._fitted(row, tokens)

    def _tokens(self, row: CorpusRow) -> RowTokens:
        if row.kind == "text":
            return self._text(row.text)
        if row.kind == "messages":
            return self._chat(row.messages)
        if self._tokenizer.chat_template is None:
            return self._completion(row.prompt, row.response)
        return self._chat(
            [
                {"role": "user", "content": row.prompt},
                {"role": "assistant", "content": row.response},
            ]
        )

    def _text(self, text: str) -> RowTokens:
        span = TextSpan(kind="text", start=0, end=len(text), learned=True)
        return row_tokens(self._tokenizer.encode(text, special=True), [span])

    def _completion(self, prompt: str, response: str) -> RowTokens:
        text, middle = prompt + response, len(prompt)
        encoded = self._tokenizer.encode(text, special=True)
        spans = [
            TextSpan(kind="prompt", start=0, end=middle, learned=False),
            TextSpan(kind="response", start=middle, end=len(text), learned=True),
        ]
        eos = self._tokenizer.eos
        if eos is not None and encoded.ids[-1:] != [eos]:
            end = (len(text), len(text))
            ids, characters = [*encoded.ids, eos], [*encoded.spans, end]
            encoded = Encoded(ids=ids, spans=characters, head=encoded.head)
        return row_tokens(encoded, spans)

    def _chat(self, messages: Sequence[Message]) -> RowTokens:
        has_system = messages[0]["role"] in ("system", "developer")
        text, spans = self._turns.render(messages if has_system else [*self._system, *messages])
        return row_tokens(self._tokenizer.encode(text, special=False), spans)

    def _fitted(self, row: CorpusRow, tokens: RowTokens) -> RowSamples:
        longest = self._limits.max_length
        if row.kind == "text" and self._limits.long_texts == "window":
            parts = list(windows(tokens, longest, self._limits.window_overlap))
            return RowSamples(samples=_samples(row, parts))
        part = cut(tokens, longest)
        is_cut = len(part) < len(tokens)
        if not part.captured:
            return RowSamples(cut=is_cut, skipped=PROMPT_TOO_LONG)
        return RowSamples(samples=_samples(row, [part]), cut=is_cut)


def system_messages(tokenizer: TeacherTokenizer, system_prompt: str | None) -> list[Message]:
    """The system turn to put before a conversation that has none, or nothing.

    Raises:
        ConfigError: a system prompt for a teacher without a chat template.
    """
    if system_prompt is not None and tokenizer.chat_template is None:
        raise ConfigError(
            "system_prompt needs a chat template, and the teacher has none. "
            "Leave it out, or give --chat-template FILE."
        )
    return [{"role": "system", "content": system_prompt}] if system_prompt else []


def row_tokens(encoded: Encoded, spans: Sequence[TextSpan]) -> RowTokens:
    """Tokens by the spans of text that they stand for; `spans` tile the text.

    A token over the border of two spans belongs to the one that is not markup; between two
    contents, to the later one. Special tokens that the tokenizer put before the text are markup,
    those behind it belong to what they end.
    """
    characters = np.asarray(encoded.spans, np.int64).reshape(-1, 2)
    ends = np.array([span.end for span in spans])
    markup = np.array([span.kind == "template" for span in spans])
    last_span = len(spans) - 1
    first = np.searchsorted(ends, characters[:, 0], "right").clip(max=last_span)
    last = np.searchsorted(ends, characters[:, 1] - 1, "right").clip(first, last_span)
    owner = np.where(markup[last], first, last)
    kinds = np.array([_KIND_INDEX[span.kind] for span in spans], np.int8)[owner]
    learned = np.array([span.learned for span in spans])[owner]
    kinds[: encoded.head], learned[: encoded.head] = _KIND_INDEX["template"], False
    return RowTokens(
        ids=np.array(encoded.ids, np.int32), kinds=kinds, learned=learned, head=encoded.head
    )


def _samples(row: CorpusRow, parts: Sequence[RowTokens]) -> tuple[Sample, ...]:
    """Samples of a row's parts; `/w<k>` tells the windows of one row apart."""
    several = len(parts) > 1
    return tuple(
        Sample(
            id=f"{row.id}/w{number}" if several else row.id,
            source=row.source,
            input_ids=part.ids,
            segments=part.segments,
            captured=part.captured,
        )
        for number, part in enumerate(parts)
    )
