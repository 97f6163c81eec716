"""How large a dump becomes, before there is one.

Fitted to what FORMAT.md section "Parquet settings" measured on English text at a vocabulary of
49,152; a surer teacher or a smaller vocabulary needs less.
"""

import math

import numpy as np

from schemas.manifest import Capture

_BYTES_PER_TOKEN = 2.0
_BYTES_PER_POSITION = 6.5
_BYTES_PER_ENTRY = 1.92
_BYTES_PER_CHOSEN_ENTRY = 2.15
_BYTES_PER_DRAW = 2.9
_BYTES_OF_COLUMN = {"max_logit": 3.0, "response": 2.0, "rationale": 2.0}
"""Per position; the other optional columns weigh little."""
_BYTES_PER_ELEMENT = {"int8": 0.91, "bf16": 1.38}
_BYTES_PER_STATE = 3.0

_LOG2_BOUND = (0.0, 4.0, 7.0, 8.0, 9.0, 10.0, 11.0)
_KEPT = (1.0, 2.0, 8.6, 13.7, 21.6, 29.7, 40.0)
_MASS_OUTSIDE = (0.5, 0.2, 0.13, 0.103, 0.081, 0.07, 0.06)

_LOG2_ENTRIES = (0.0, 3.0, 4.0, 5.0, 6.0, 7.0)
_MASS_OUTSIDE_TOP = (0.45, 0.211, 0.16, 0.12, 0.089, 0.064)


def expected_bytes(tokens: int, positions: int, capture: Capture) -> int:
    """Bytes in data/ and hidden/ for so many tokens, of which `positions` carry signals."""
    kept, outside = _kept(capture)
    entry = _BYTES_PER_ENTRY if capture.min_prob is None else _BYTES_PER_CHOSEN_ENTRY
    per_position = _BYTES_PER_POSITION + entry * kept
    per_position += _BYTES_PER_DRAW * capture.tail_samples * outside
    per_position += sum(_BYTES_OF_COLUMN.get(name, 0.0) for name in capture.optional_columns)
    per_token = _BYTES_PER_TOKEN + hidden_bytes_per_token(capture)
    return round(tokens * per_token + positions * per_position)


def hidden_bytes_per_token(capture: Capture) -> float:
    """Bytes per token in hidden/."""
    element = _BYTES_PER_ELEMENT.get(capture.hidden_codec or "", 0.0)
    return len(capture.hidden_layers) * (element * capture.stored_width + _BYTES_PER_STATE)


def _kept(capture: Capture) -> tuple[float, float]:
    """Expected entries per position, and the probability outside them."""
    largest = math.log2(capture.top_k)
    by_count = float(np.interp(largest, _LOG2_ENTRIES, _MASS_OUTSIDE_TOP))
    if capture.min_prob is None:
        return capture.top_k, by_count
    bound = -math.log2(capture.min_prob)
    kept = min(float(np.interp(bound, _LOG2_BOUND, _KEPT)), capture.top_k)
    return kept, max(by_count, float(np.interp(bound, _LOG2_BOUND, _MASS_OUTSIDE)))
