"""Parser `regex`: a regular expression with the named group `answer`, perhaps `rationale`."""

import logging
from typing import Any

from schemas.errors import ConfigError
from stage1_teacher.bounded_regex import SECONDS, compiled, last_match
from stage1_teacher.parsed_answer import Parsed, Parser, answered

_log = logging.getLogger(__name__)


def regex(argument: str | None) -> Parser:
    """The parser for a regular expression, `argument`; its last match in a response counts.

    The group `rationale` is the thoughts; without it they are what stands before the match. An
    expression that takes longer than a second on a response does not match it; the log says so.
    """
    if not argument:
        raise ConfigError(
            "the parser regex needs a regular expression. Give for example "
            "--parser-argument '(?s)(?P<rationale>.*)Answer: (?P<answer>.*)'."
        )
    pattern = compiled(argument, "--parser-argument")
    if "answer" not in pattern.groupindex:
        raise ConfigError(
            f"--parser-argument has no group `answer`; found {argument!r}. "
            "Put (?P<answer>…) around what the answer is."
        )
    return _RegexParser(pattern)


class _RegexParser:
    """Warns once of an expression that is too slow; every response that it costs is unparsed."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern
        self._warned = False

    def __call__(self, text: str) -> Parsed | None:
        try:
            match = last_match(self._pattern, text)
        except TimeoutError:
            self._warn(len(text))
            return None
        if match is None or match.start("answer") < 0:
            return None
        groups = self._pattern.groupindex
        given = "rationale" in groups and match.start("rationale") >= 0
        return answered(
            text, match.span("rationale") if given else (0, match.start()), match.span("answer")
        )

    def _warn(self, length: int) -> None:
        if not self._warned:
            _log.warning(
                "the regular expression of the parser takes more than %g s on a response of %d "
                "characters; such responses count as unparsed. Make it simpler: a repeated group "
                "inside a repeated group is the usual cause.",
                SECONDS,
                length,
            )
        self._warned = True
