"""Corpus rows become prompts: exactly what the teacher sees before it writes.

A prompt goes through the reasoning template, then through the teacher's chat template with the
generation prompt at its end. A teacher without a chat template sees the prompt as plain text, which
it goes on with.
"""

import json
from collections.abc import Sequence

import numpy as np

from schemas.errors import CorpusError
from schemas.manifest import Limits
from stage1_teacher.chat_turns import ChatTurns, TextSpan
from stage1_teacher.corpus_rows import CorpusRow, Message
from stage1_teacher.prompts import RowSamples, row_tokens, system_messages
from stage1_teacher.reasoning_templates import ReasoningTemplate
from stage1_teacher.samples import Sample
from stage1_teacher.tokenizer import Encoded, TeacherTokenizer
from stage1_teacher.windows import RowTokens

PROMPT_TOO_LONG = "the prompt fills max_length, so nothing is left to write"

_USER = "user"


class PromptRenderer:
    """Makes a prompt of each row: a sample that ends where the response will begin.

    Args of the constructor:
        tokenizer: the teacher's, with the chat template to use.
        limits: longest sequence, prompt and response together.
        system_prompt: put before prompts, and before conversations that have none.
        template: put around the prompt, or around a conversation's last user turn.

    Raises of the constructor:
        ConfigError: a system prompt for a teacher without a chat template.
    """

    def __init__(
        self,
        tokenizer: TeacherTokenizer,
        limits: Limits,
        system_prompt: str | None = None,
        template: ReasoningTemplate | None = None,
    ) -> None:
        self._system = system_messages(tokenizer, system_prompt)
        self._tokenizer = tokenizer
        self._limits = limits
        self._template = template
        self._turns = ChatTurns(tokenizer, limits.capture_roles)

    def render(self, row: CorpusRow) -> RowSamples:
        """The prompt of one row; nothing of it is captured.

        Raises:
            CorpusError: a conversation that the chat template refuses; file and line are named.
        """
        try:
            tokens = self._tokens(row)
        except CorpusError as error:
            raise CorpusError(f"{row.where}: {error}") from error
        if len(tokens) >= self._limits.max_length:
            return RowSamples(skipped=PROMPT_TOO_LONG)
        sample = Sample(
            id=row.id,
            source=row.source,
            input_ids=tokens.ids,
            segments=tokens.segments,
            captured=(),
            texts=_texts(row),
        )
        return RowSamples(samples=(sample,))

    def _tokens(self, row: CorpusRow) -> RowTokens:
        if row.kind == "prompt" and self._tokenizer.chat_template is None:
            return self._plain(self._asked(row.prompt))
        messages = row.messages if row.kind == "messages" else [_turn(row.prompt)]
        return self._chat(self._asked_in(messages))

    def _asked(self, prompt: str) -> str:
        return prompt if self._template is None else self._template.render(prompt)

    def _asked_in(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation, the template put around its last user turn."""
        asked = list(messages)
        users = [index for index, message in enumerate(asked) if message["role"] == _USER]
        if users:
            last = asked[users[-1]]
            asked[users[-1]] = {**last, "content": self._asked(last["content"])}
        has_system = asked[0]["role"] in ("system", "developer")
        return asked if has_system else [*self._system, *asked]

    def _plain(self, text: str) -> RowTokens:
        """A text to go on with: no token that the tokenizer would put behind it."""
        encoded = self._tokenizer.encode(text, special=True)
        ids, spans = encoded.ids, encoded.spans
        while len(ids) > encoded.head and spans[-1][0] == spans[-1][1]:
            ids, spans = ids[:-1], spans[:-1]
        whole = TextSpan(kind="prompt", start=0, end=len(text), learned=False)
        return row_tokens(Encoded(ids=ids, spans=spans, head=encoded.head), [whole])

    def _chat(self, messages: list[Message]) -> RowTokens:
        text = self._tokenizer.chat(messages, generation_prompt=True)
        tokens = row_tokens(
            self._tokenizer.encode(text, special=False), self._spans(text, messages)
        )
        unlearned = np.zeros(len(tokens), np.bool_)
        return RowTokens(ids=tokens.ids, kinds=tokens.kinds, learned=unlearned)

    def _spans(self, text: str, messages: list[Message]) -> list[TextSpan]:
        """Turns as they are in the conversation, then the generation prompt."""
        before, spans = self._turns.render(messages)
        if not text.startswith(before):  # a template that ends a conversation in another way
            return [TextSpan(kind="prompt", start=0, end=len(text), learned=False)]
        if len(text) == len(before):
            return spans
        rest = TextSpan(kind="template", start=len(before), end=len(text), learned=False)
        return [*spans, rest]


def _turn(prompt: str) -> Message:
    return {"role": _USER, "content": prompt}


def _texts(row: CorpusRow) -> dict[str, str | bool | None]:
    users = [m["content"] for m in row.messages if m["role"] == _USER]
    prompt = row.prompt or (users[-1] if users else "")
    provenance = {"corpus": json.loads(row.provenance)} if row.provenance else {}
    origin = json.dumps({"row": row.id, **provenance}, ensure_ascii=False)
    return {"prompt": prompt, "gold": row.gold, "provenance": origin}
