"""A verdict on one answer."""

from stage1_teacher.verdict import Verdict
from stage1_teacher.verifiers import open_verifier


def judged(name: str, answer: str, gold: str, argument: str | None = None) -> Verdict:
    with open_verifier(name, argument) as verify:
        (verdict,) = verify([(answer, gold)])
    return verdict
