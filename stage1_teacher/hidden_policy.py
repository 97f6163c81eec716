"""What was asked for of hidden states, checked against the teacher and completed by it."""

from collections.abc import Sequence

from schemas.errors import ConfigError
from schemas.hidden_layers import LAST
from schemas.manifest import Capture, Projection
from schemas.projection import projection_sha256
from stage1_teacher.projection import projection_file, projection_matrix


def check_layers(layers: Sequence[str], count: int) -> None:
    """Checks ids against a teacher of `count` layers.

    Raises:
        ConfigError: one is beyond it.
    """
    beyond = [layer for layer in layers if layer != LAST and int(layer) > count]
    if beyond:
        raise ConfigError(
            f"hidden layer {beyond[0]} is beyond the teacher, whose states are 0 (embeddings) to "
            f"{count}, and last (after the final norm). Give --hidden-layers within that."
        )


def check_projection(narrow: int | None, width: int) -> None:
    """Checks the width asked for against that of the teacher's states.

    Raises:
        ConfigError: it is not below it.
    """
    if narrow is not None and narrow >= width:
        raise ConfigError(
            f"hidden_projection {narrow} would not make hidden states of width {width} narrower. "
            "Give less, or leave it out."
        )


def with_widths(
    capture: Capture, width: int, narrow: int | None, depth: int | None = None
) -> Capture:
    """The policy with what it needs to know of the teacher: width, depth, the projection's hash."""
    if not capture.hidden_layers:
        return capture
    projection = None
    if narrow is not None:
        data = projection_file(projection_matrix(width, narrow))
        projection = Projection(width=narrow, sha256=projection_sha256(data))
    found = {"hidden_width": width, "hidden_projection": projection, "hidden_depth": depth}
    return capture.model_copy(update=found)
