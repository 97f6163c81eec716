"""The teacher's tokenizer: text to ids with offsets, its chat template, and the files of a dump."""

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Any

from schemas.errors import CorpusError, InputError, ModelError
from schemas.manifest import Tokenizer, digest
from schemas.tokenizer_fingerprint import tokenizer_fingerprint

NO_TEMPLATE = "none"
"""Said in place of a chat template's file: prompts and responses stay plain text."""

CONFIG = "tokenizer_config.json"
FILES = ("tokenizer.json", CONFIG, "special_tokens_map.json", "chat_template.jinja")
"""All that a dump takes of a tokenizer: data, never code."""

_LOCAL = frozenset(
    {"auto_map", "name_or_path", "is_local", "local_files_only", "tokenizer_file", "vocab_file"}
)
_OWN_CLASS = "PreTrainedTokenizerFast"

_DATE = date(2024, 7, 26)
"""What a template that writes today's date gets, so that a dump continued tomorrow stays the same;
templates of the Llama 3 family fall back to this day themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Token ids, and for each the half-open span of characters that it stands for.

    Special tokens that the tokenizer added by its own rule have an empty span; `head` is how many
    of them stand before the text.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    head: int = 0


class TeacherTokenizer:
    """A transformers tokenizer and what a dump says about it.

    Args of the constructor:
        tokenizer: a fast tokenizer of transformers; its chat template is the one to use.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self.chat_template: str | None = tokenizer.chat_template
        self.bos: int | None = tokenizer.bos_token_id
        self.eos: int | None = tokenizer.eos_token_id

    @cached_property
    def fingerprint(self) -> str:
        """The tokenizer's identity."""
        return tokenizer_fingerprint(self._backend.to_str())

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the special tokens."""
        added = self._tokenizer.added_tokens_decoder.items()
        return frozenset(id for id, token in added if token.special)

    @cached_property
    def special_pattern(self) -> re.Pattern[str]:
        """Finds special tokens written out in a text."""
        names = sorted(map(self.token, self.special_ids), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def encode(self, text: str, *, special: bool) -> Encoded:
        """Tokens of a text; `special` adds those that the tokenizer puts around it by its rule.

        A text that begins with the BOS token already does not get a second one.
        """
        found = self._backend.encode(text, add_special_tokens=special)
        ids, spans = found.ids, found.offsets
        head = self._head(ids, spans) if special else 0
        if head and self.bos is not None and ids[head - 1 : head + 1] == [self.bos, self.bos]:
            ids, spans = ids[1:], spans[1:]
        return Encoded(ids=ids, spans=spans, head=head)

    def _head(self, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> int:
        added = (
            start == end and id in self.special_ids
            for id, (start, end) in zip(ids, spans, strict=True)
        )
        return sum(takewhile(bool, added))

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Ids as text."""
        return str(self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text of those before it; together they are `decode(ids)`.

        A character of several tokens is added by the last of them.
        """
        from tokenizers.decoders import DecodeStream

        text = self.decode(ids)
        try:
            stream = DecodeStream(skip_special_tokens=False)
            pieces = [stream.step(self._backend, id) or "" for id in ids]
        except Exception:  # the stream gives up on bytes that never become a character
            pieces = []
        return pieces if "".join(pieces) == text else self._pieces_by_prefix(ids, text)

    def _pieces_by_prefix(self, ids: Sequence[int], text: str) -> list[str]:
        """The slow way, for text that is no valid UTF-8."""
        ends = [_shared(self.decode(ids[:n]), text) for n in range(1, len(ids))]
        ends = [*accumulate([0, *ends], max), len(text)]
        return [text[start:end] for start, end in pairwise(ends)] if ids else []

    def token(self, id: int) -> str:
        """A token as its vocabulary spells it."""
        return str(self._backend.id_to_token(id))

    def chat(self, messages: Sequence[Any], *, generation_prompt: bool = False) -> str:
        """A conversation through the chat template.

        Raises:
            CorpusError: there is no template, or it refuses the conversation.
        """
        from jinja2 import TemplateError

        if self.chat_template is None:
            raise CorpusError(
                "found a conversation, and the teacher has no chat template. Take an instruct "
                "model as the teacher, or give --chat-template FILE."
            )
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    list(messages),
                    tokenize=False,
                    add_generation_prompt=generation_prompt,
                    strftime_now=_DATE.strftime,
                )
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise CorpusError(
                f"the chat template refuses a conversation of {_roles(messages)}: {error}. "
                "Change the conversation, or give --chat-template FILE."
            ) from error

    def manifest(self, head_size: int) -> Tokenizer:
        """The manifest's entry; `head_size` is the number of logits the teacher gives."""
        named = self._tokenizer.special_tokens_map
        ids = {name: self._backend.token_to_id(str(token)) for name, token in named.items()}
        template = self.chat_template
        return Tokenizer(
            fingerprint=self.fingerprint,
            size=len(self._tokenizer),
            head_size=head_size,
            special_tokens={name: id for name, id in ids.items() if id is not None},
            chat_template=None if template is None else digest(template),
        )

    def files(self) -> dict[str, bytes]:
        """What stands in a dump's tokenizer/, by name."""
        with tempfile.TemporaryDirectory() as folder:
            self._tokenizer.save_pretrained(folder)
            paths = [Path(folder, name) for name in FILES]
            found = {path.name: path.read_bytes() for path in paths if path.is_file()}
        return {**found, CONFIG: cleaned_config(found[CONFIG])}


def load_tokenizer(
    folder: Path, *, trust_remote_code: bool = False, chat_template: str | None = None
) -> TeacherTokenizer:
    """Loads the tokenizer in a model folder.

    Args:
        folder: what `save_pretrained` wrote.
        trust_remote_code: run Python code that comes with it.
        chat_template: a file to use in place of its own template, or `none` for no template.

    Raises:
        ModelError: there is none, or none that gives offsets.
        InputError: the template's file cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # a broken file raises whatever its parser does
        raise ModelError(_explained(folder, error)) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer in {folder} ({type(tokenizer).__name__}) gives no offsets, so spans "
            "would not be exact. Convert it to a fast one (a tokenizer.json)."
        )
    tokenizer.chat_template = _template(tokenizer.chat_template, chat_template)
    return TeacherTokenizer(tokenizer)


def _template(own: Any, chosen: str | None) -> str | None:
    if chosen == NO_TEMPLATE:
        return None
    if chosen is not None:
        return _read_template(Path(chosen).expanduser())
    return own.get("default") if isinstance(own, dict) else own


def _read_template(path: Path) -> str:
    from jinja2 import Environment, TemplateSyntaxError

    try:
        text = path.read_text("utf-8")
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the chat template {path} cannot be read: {error}. Give a jinja file, or `none`."
        ) from error
    except TemplateSyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.message}. Correct it.") from error
    return text


def _explained(folder: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    if "trust_remote_code" in reason:
        return (
            f"the tokenizer in {folder} runs Python code that comes with it. "
            "Read that code, then give --trust-remote-code."
        )
    return (
        f"no tokenizer can be loaded from {folder}: {reason} "
        "Copy the teacher's tokenizer.json and tokenizer_config.json into it."
    )


def cleaned_config(config: bytes) -> bytes:
    """tokenizer_config.json without code, and without what was only true of one machine."""
    content = json.loads(config)
    kept = {name: value for name, value in content.items() if name not in _LOCAL}
    if "auto_map" in content:
        kept["tokenizer_class"] = _OWN_CLASS
    return (json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _roles(messages: Sequence[Any]) -> str:
    return ", ".join(str(message.get("role")) for message in messages[:6])
