"""What becomes of a response that a teacher wrote: taken apart, compared, kept or counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, groupby

from schemas.manifest import Generation, GenerationCounts
from stage1_teacher.completions import Completion
from stage1_teacher.near_duplicates import distinct
from stage1_teacher.parsed_answer import Parsed, Parser
from stage1_teacher.samples import Sample
from stage1_teacher.verdict import Verdict, Verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response on its way into the dump.

    Attributes:
        prompt: the sequence that it answers.
        number: which of the responses to its prompt, from 0.
        id: of the sample that it becomes.
        completion: what the engine gave.
        pieces: what each of its tokens adds to the text; nothing for the end-of-sequence token.
        parsed: where rationale and answer stand; None without a parser, or where it found none.
        verdict: the verifier's; None without one, or where there is no answer.
    """

    prompt: Sample
    number: int
    id: str
    completion: Completion
    pieces: Sequence[str]
    parsed: Parsed | None = None
    verdict: Verdict | None = None

    @property
    def text(self) -> str:
        """The response without the token that ended it."""
        return "".join(self.pieces)


@dataclass(slots=True)
class Tally:
    """Counts what becomes of responses, by the words of `GenerationCounts`."""

    generated: int = 0
    truncated: int = 0
    unparsed: int = 0
    accepted: int = 0
    rejected: int = 0
    unverifiable: int = 0
    duplicates: int = 0
    kept: int = 0

    def result(self) -> GenerationCounts:
        """For the ledger."""
        return GenerationCounts(**{name: getattr(self, name) for name in self.__slots__})


class Judge:
    """Decides which responses a dump keeps.

    Args of the constructor:
        plan: what the user asked for.
        parse: takes a response apart, or None.
        verify: compares answers with gold answers, or None.
    """

    def __init__(self, plan: Generation, parse: Parser | None, verify: Verify | None) -> None:
        self._plan = plan
        self._parse = parse
        self._verify = verify

    def kept(self, responses: Sequence[Response], tally: Tally) -> Iterator[Response]:
        """Those to keep, in order, parsed and compared; all are counted.

        Responses to the same prompt stand together and are all here, for duplicates are dropped.
        """
        tally.generated += len(responses)
        whole = [found for found in responses if self._whole(found, tally)]
        judged = self._compared([self._parsed(found) for found in whole])
        accepted = [found for found in judged if self._accepts(found, tally)]
        for _, of_prompt in groupby(accepted, key=lambda found: found.prompt.id):
            yield from self._distinct(list(of_prompt), tally)

    def _whole(self, found: Response, tally: Tally) -> bool:
        if found.completion.finish_reason != "length":
            return True
        tally.truncated += 1
        return self._plan.keep_truncated

    def _parsed(self, found: Response) -> Response:
        return replace(found, parsed=self._parse(found.text)) if self._parse else found

    def _compared(self, responses: list[Response]) -> Iterator[Response]:
        """With verdicts: all answers go to the verifier at once, which may have processes."""
        pairs = [(f.parsed.answer_text, str(f.prompt.texts["gold"])) for f in responses if f.parsed]
        verdicts = iter(self._verify(pairs) if self._verify else [])
        for found in responses:
            comparable = self._verify is not None and found.parsed is not None
            yield replace(found, verdict=next(verdicts)) if comparable else found

    def _accepts(self, found: Response, tally: Tally) -> bool:
        outcome = self._outcome(found)
        setattr(tally, outcome, getattr(tally, outcome) + 1)
        return self._plan.keep == "all" or outcome == "accepted"

    def _outcome(self, found: Response) -> str:
        if self._parse is not None and found.parsed is None:
            return "unparsed"
        if self._verify is None or found.verdict is None:
            return "accepted"
        if found.verdict.correct is None:
            return "unverifiable"
        return "accepted" if found.verdict.correct else "rejected"

    def _distinct(self, responses: list[Response], tally: Tally) -> Iterator[Response]:
        new = [True] * len(responses)
        if self._plan.deduplicate:
            new = distinct([found.text for found in responses], self._plan.similarity)
        tally.duplicates += new.count(False)
        tally.kept += new.count(True)
        yield from compress(responses, new)
