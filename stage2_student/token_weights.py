"""What a position weighs in the loss: by the segment of the token it predicts, by its verdict.

The weight by the teacher's own certainty is `teacher_weights.py`. A mean loss is divided by the sum
of the weights, so only their ratios matter. Shapes: R rows, L tokens of all rows, P captured
positions of all rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.dump_folder import DumpFolder
from schemas.errors import ConfigError
from schemas.row_group import Lists, Offsets, span_column
from stage2_student.kind_weights import kind_weights
from stage2_student.teacher_weights import ByTeacher


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWeights:
    """The factors of a position's weight.

    Attributes:
        kinds: by the kind of segment that the predicted token is in; 1 for kinds not named.
        wrong: of rows whose verdict is false; rows without a verdict weigh 1.
        teacher: what of the teacher decides.
    """

    kinds: Mapping[str, float] = field(default_factory=dict)
    wrong: float = 1.0
    teacher: ByTeacher = "none"


def weights_of(settings: Any) -> TokenWeights:
    """What the settings of a training say."""
    return TokenWeights(
        kinds=kind_weights(settings.token_weights),
        wrong=settings.wrong_weight,
        teacher=settings.weigh_by,
    )


def check_weights(weights: TokenWeights, dumps: Sequence[DumpFolder]) -> None:
    """Checks that the dumps hold what the weights are read from.

    Raises:
        ConfigError: a dump has no verdicts, and wrong rows are to weigh something else.
    """
    for dump in dumps:
        if weights.wrong != 1 and "verdict" not in dump.manifest.capture.optional_columns:
            raise ConfigError(
                f"{dump.url} holds no verdicts, so no row is known to be wrong: wrong_weight "
                f"{weights.wrong:g} would change nothing. Leave it out, or take a dump whose "
                "answers were verified."
            )


def label_weights(
    table: pa.Table, weights: TokenWeights, captured: Lists, labels: Offsets
) -> npt.NDArray[np.float32] | None:
    """[P] the weights of positions by segment and verdict; None where all weigh 1.

    Args:
        table: of a row group, with the columns that the weights are read from.
        weights: the factors.
        captured: [R] lists of positions.
        labels: [P] where the predicted token stands in the tokens of all rows.
    """
    found = np.ones(len(labels), np.float32)
    if weights.kinds:
        found *= per_token(table, weights.kinds, 1.0)[labels]
    if weights.wrong != 1:
        verdicts = table["verdict"].combine_chunks()
        right = verdicts.fill_null(True).to_numpy(zero_copy_only=False).astype(bool)
        of_row = np.where(right, 1.0, weights.wrong).astype(np.float32)
        found *= np.repeat(of_row, np.diff(captured.offsets))
    return found if weights.kinds or weights.wrong != 1 else None


def per_token(
    table: pa.Table, kinds: Mapping[str, float], otherwise: float
) -> npt.NDArray[np.float32]:
    """[L] a number for each token by the kind of its segment; segments cover their row."""
    _, starts, ends = span_column(table, "segments")
    names = table["segments"].combine_chunks().values.field("kind").dictionary_encode()
    of_name = [kinds.get(name, otherwise) for name in names.dictionary.to_pylist()]
    of_segment = np.asarray(of_name, np.float32)[names.indices.to_numpy(zero_copy_only=False)]
    found: npt.NDArray[np.float32] = np.repeat(of_segment, ends.astype(np.int64) - starts)
    return found
