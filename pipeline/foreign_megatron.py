"""Reads cached logits of Megatron-LM: tar files `cp<C>_dp<D>__<iteration>.tar`.

A member `<iteration>.pt.zst` holds, per microbatch, three tensors of [sequence, batch, k]: `values`
(log-probabilities), `indices_low` (the lower 16 bits of the ids) and `bit_17`. There are no tokens:
these come from a file of their own, sample by sample in the order in which Megatron read them:
iteration, microbatch, data-parallel rank, place in the batch. A sample has one token more than
positions, for position t predicts token t+1.

The members are torch's own files; they are opened with `weights_only`, which makes tensors and runs
no code.
"""

import io
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from pipeline.foreign_files import ForeignFiles, find_foreign
from pipeline.foreign_rows import ForeignRow, Longs
from schemas.errors import DamagedError, InputError

TAR = re.compile(r"^cp(?P<cp>\d+)_dp(?P<dp>\d+)__(?P<last>\d+)\.tar$")
_MEMBER = re.compile(r"^(?P<iteration>\d+)\.pt\.zst$")
_LARGEST = 4 << 30


def read_megatron(files: ForeignFiles, tokens: str | None) -> Iterator[ForeignRow]:
    """The rows, in the order in which Megatron read its samples.

    Raises:
        InputError: no tokens were given, too few, or the logits are split over the context.
        DamagedError: a member cannot be read.
    """
    if tokens is None:
        raise InputError(
            "Megatron's cached logits hold no tokens. Give them with --tokens: a .npy of shape "
            "[samples, sequence + 1], or Parquet or JSON lines with `input_ids`, in the order in "
            "which Megatron read them."
        )
    own, count = _tokens(tokens), 0
    for iteration, parts in _iterations(files):
        for values, ids in _samples(parts):
            found = next(own, None)
            if found is None:
                raise InputError(
                    f"--tokens {tokens} ends after {count:,} samples, and there are more logits. "
                    "Give the tokens of the whole run."
                )
            yield _row(f"iteration-{iteration}-{count}", found, values, ids)
            count += 1
    if next(own, None) is not None:
        raise InputError(
            f"--tokens {tokens} has more samples than the {count:,} with logits: they would be "
            "paired wrongly. Give exactly those that Megatron read."
        )


def _row(name: str, tokens: Longs, values: Any, ids: Any) -> ForeignRow:
    """`values` and `ids` are [sequence, k]."""
    if len(tokens) not in (len(ids), len(ids) + 1):
        raise InputError(
            f"a sample has {len(tokens)} tokens and {len(ids)} distributions; a sequence of "
            f"{len(ids)} needs {len(ids) + 1} tokens. --tokens is another run's."
        )
    return ForeignRow(
        id=name,
        source="megatron",
        input_ids=tokens,
        positions=np.arange(len(ids)),
        counts=np.full(len(ids), ids.shape[1]),
        ids=ids.ravel(),
        logprobs=values.ravel(),
    )


def _iterations(files: ForeignFiles) -> Iterator[tuple[int, list[Any]]]:
    """Per iteration the payloads of its data-parallel ranks, in their order."""
    groups: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for path in files.of(".tar"):
        match = TAR.match(PurePosixPath(path).name)
        if match is None:
            continue
        if int(match["cp"]):
            raise InputError(
                f"{path}: the logits are split over context-parallel ranks, which cannot be put "
                "together. Save them with a context-parallel size of 1."
            )
        groups[int(match["last"])].append((int(match["dp"]), path))
    for _, ranks in sorted(groups.items()):
        readers = [_members(files, path) for _, path in sorted(ranks)]
        for parts in zip(*readers, strict=True):
            if len({iteration for iteration, _ in parts}) != 1:
                raise DamagedError("tar files of one group hold other iterations: one is missing.")
            yield parts[0][0], [payload for _, payload in parts]


def _samples(parts: list[Any]) -> Iterator[tuple[Any, Any]]:
    """[sequence, k] values and ids of every sample of an iteration."""
    for step in range(len(parts[0]["values"])):
        for part in parts:
            values = part["values"][step].float().numpy().astype(np.float64)
            low = part["indices_low"][step].numpy().astype(np.int64)
            ids = low | (part["bit_17"][step].numpy().astype(np.int64) << 16)
            for place in range(values.shape[1]):
                yield values[:, place], ids[:, place]


def _members(files: ForeignFiles, path: str) -> Iterator[tuple[int, Any]]:
    with (
        files.filesystem.open(path, "rb") as source,
        tarfile.open(fileobj=source, mode="r|*") as tar,
    ):
        for member in tar:
            match = _MEMBER.match(member.name)
            content = tar.extractfile(member) if match and member.isreg() else None
            if match and content is not None:
                yield int(match["iteration"]), _payload(content.read(), f"{path}/{member.name}")


def _payload(data: bytes, where: str) -> Any:
    import torch
    import zstandard

    try:
        plain = io.BytesIO()
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            while block := reader.read(1 << 20):
                if plain.tell() > _LARGEST:
                    raise ValueError(f"more than {_LARGEST:,} bytes")
                plain.write(block)
        plain.seek(0)
        found = torch.load(plain, weights_only=True, map_location="cpu")
        if not {"values", "indices_low", "bit_17"} <= set(found):
            raise ValueError(f"it holds {', '.join(map(str, found))}")
        return found
    except Exception as error:  # torch and zstandard raise many kinds
        raise DamagedError(f"{where} is no payload of cached logits: {error}.") from error


def _tokens(path: str) -> Iterator[Longs]:
    files = find_tokens(path)
    if isinstance(files, np.ndarray):
        yield from files.astype(np.int64)
        return
    for _, _, values in files.rows():
        yield np.asarray(values["input_ids"], np.int64)


def find_tokens(path: str) -> Longs | ForeignFiles:
    """The samples' tokens: an array of all of them, or files with `input_ids`.

    Raises:
        InputError: it is neither.
    """
    if not path.endswith(".npy"):
        return find_foreign(path)
    try:
        found: Longs = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--tokens {path} cannot be read: {error}.") from error
    if found.ndim != 2 or found.dtype.kind not in "iu":
        raise InputError(
            f"--tokens {path} holds {found.dtype} of shape {found.shape}; token ids of shape "
            "[samples, sequence + 1] are needed."
        )
    return found
