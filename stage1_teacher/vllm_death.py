"""What it looks like when vLLM's process dies, in words to act on."""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import TemporaryError

_CANCELLED = "method failed: cancelled"
"""How vLLM ends a call that waits when its process dies; it has no class of its own."""


@contextmanager
def explained_death() -> Iterator[None]:
    """Around whatever talks with vLLM's process.

    Raises:
        TemporaryError: it died.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except Exception as error:
        if not isinstance(error, EngineDeadError) and not str(error).endswith(_CANCELLED):
            raise
        raise TemporaryError(
            f"vLLM's process died: {error} Its own log says why; often memory ran out. "
            "Finished units are kept: run the same command again to go on."
        ) from error
