"""The peak learning rate of a student that was given none, by its size.

    6e-4 · (125e6 / parameters) ^ 0.4, at most 1e-3; a quarter of it for a whole checkpoint

A power law through the sizes of Brown et al. 2020, arXiv:2005.14165, table 2.1 (125M: 6e-4, 1.3B:
2e-4, 13B: 1e-4). A whole checkpoint has more to lose than to learn; adapters leave it as it is, and
begin at nothing.
"""

_REFERENCE = 125e6
_AT_REFERENCE = 6e-4
_POWER = 0.4
_MOST = 1e-3
_OF_WHOLE = 1 / 4


def peak_rate(parameters: int, whole: bool) -> float:
    """The default for a student of so many parameters, rounded to two digits.

    Args:
        parameters: of the student, tied ones counted once.
        whole: whether a checkpoint of which nothing was left out is itself changed.
    """
    rate = min(_MOST, _AT_REFERENCE * (_REFERENCE / max(parameters, 1)) ** _POWER)
    return float(f"{rate * (_OF_WHOLE if whole else 1):.1e}")
