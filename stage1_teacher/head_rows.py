"""Logits of many rows, a few at a time, in buffers that are allocated once.

Shapes: N rows, D hidden width, V vocabulary rounded up to whole blocks of columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stage1_teacher.output_head import OutputHead


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRows:
    """Rows of one head product, and rows of it that are reduced in float32 at once."""

    head: int
    reduced: int


BLOCK_ROWS = {"cpu": BlockRows(head=256, reduced=32), "cuda": BlockRows(head=4096, reduced=512)}
"""A CPU reduces what stays in its cache; a GPU wants long rows of work and few launches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewRows:
    """Rows of logits to reduce, overwritten by the next ones.

    Attributes:
        span: which rows.
        logits_NV: in the head's dtype, minus infinity beyond the vocabulary.
        buffer_NV: float32, anything.
    """

    span: slice
    logits_NV: Tensor
    buffer_NV: Tensor


class HeadRows:
    """Puts hidden states through a head, block by block."""

    def __init__(self, head: OutputHead, width: int, rows: BlockRows | None = None) -> None:
        """Allocates the buffers; `width` is that of a block of columns."""
        weight = head.weight_VD
        self._head = head
        self._rows = rows or BLOCK_ROWS.get(weight.device.type, BLOCK_ROWS["cuda"])
        padded = -(-head.size // width) * width
        shape = (self._rows.head, padded)
        self._logits = weight.new_full(shape, -torch.inf, dtype=head.logits_dtype)
        self._buffer = weight.new_zeros((self._rows.reduced, padded), dtype=torch.float32)

    @property
    def size(self) -> int:
        """Columns of the head."""
        return self._head.size

    @property
    def buffer_bytes(self) -> int:
        """Memory of the buffers."""
        return sum(b.numel() * b.element_size() for b in (self._logits, self._buffer))

    def __call__(self, hidden_ND: Tensor) -> Iterator[FewRows]:
        """Yields the rows in order."""
        for start in range(0, len(hidden_ND), self._rows.head):
            hidden = hidden_ND[start : start + self._rows.head]
            block = self._logits[: len(hidden)]
            self._head.logits(hidden, block[:, : self._head.size])
            for low in range(0, len(hidden), self._rows.reduced):
                part = block[low : low + self._rows.reduced]
                yield FewRows(
                    span=slice(start + low, start + low + len(part)),
                    logits_NV=part,
                    buffer_NV=self._buffer[: len(part)],
                )
