"""Reads dumps of arcee-ai/DistillKit: Parquet files and compression_config.yaml.

A row has `input_ids` and, per token but the last, `compressed_logprobs` and `bytepacked_indices`.
The latter are k numbers of ceil(log2 d) bits, most significant bit first. The former are, one after
the other: `exact_k` numbers of `exact_dtype`; one coefficient of `term_dtype` per term of
`polynomial_terms`, whose sum over x = 0, 1, … (or 0 … 1 with `normalize_t`) gives the others; and
per residual bin a scale and signed integers of `element_bits` to add to them. With
`delta_encoding` all of these are differences. Rows with `token_ids` and `top_values` need no
decoder.

Shapes: P positions, k entries of each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.foreign_files import ForeignFiles
from pipeline.foreign_rows import Doubles, ForeignRow, Longs
from schemas.errors import InputError

CONFIG = "compression_config.yaml"
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
Octets = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """The fields of compression_config.yaml, as DistillKit names them."""

    d: int
    k: int
    exact_k: int
    exact_dtype: str = "float32"
    polynomial_terms: tuple[int | str, ...] = ()
    term_dtype: str = "float32"
    residual_bins: tuple[Mapping[str, Any], ...] = ()
    delta_encoding: bool = True
    normalize_t: bool = False


def compression_of(text: str, where: str) -> Compression:
    """The configuration in a YAML text.

    Raises:
        InputError: it is not such a configuration.
    """
    import yaml

    try:
        found = yaml.safe_load(text)
        fields = {n: found[n] for n in Compression.__slots__ if found.get(n) is not None}
        for name in ("polynomial_terms", "residual_bins"):
            fields[name] = tuple(fields.get(name, ()))
        return Compression(**fields)
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise InputError(
            f"{where} is no compression configuration of DistillKit: {error}. It has the fields d, "
            "k, exact_k, polynomial_terms, … that the capture was run with."
        ) from error


def read_distillkit(files: ForeignFiles, config: Compression | None) -> Iterator[ForeignRow]:
    """The rows, in order of files.

    Raises:
        InputError: the layout is one that cannot be read.
    """
    for name, index, values in files.rows():
        if "packed_indices" in values:
            raise InputError(
                f"{name} is of DistillKit's legacy compression, whose values are fitted without "
                "residuals. Capture again with its logprob_compressor, or with potstill."
            )
        tokens = np.asarray(values["input_ids"], np.int64)
        if "token_ids" in values:
            ids = np.asarray(values["token_ids"], np.int64)
            logprobs = np.asarray(values["top_values"], np.float64)
        else:
            ids, logprobs = _decoded(values, config)
        ids, logprobs = ids.reshape(len(ids), -1), logprobs.reshape(len(logprobs), -1)
        count = len(ids)
        yield ForeignRow(
            id=f"{name}-{index}",
            source=name,
            input_ids=tokens,
            positions=np.arange(count),
            counts=np.full(count, ids.shape[1] if count else 0),
            ids=ids.ravel(),
            logprobs=logprobs.ravel(),
        )


def _decoded(values: Mapping[str, Any], config: Compression | None) -> tuple[Longs, Doubles]:
    if config is None:
        raise InputError(
            f"these rows are compressed and there is no {CONFIG} beside them. Give the one that "
            "they were captured with: --compression-config FILE."
        )
    packed = _octets(values["bytepacked_indices"])
    logprobs = decode_logprobs(_octets(values["compressed_logprobs"]), config)
    bits = max(1, int(np.ceil(np.log2(config.d))))
    return unpack_bits(packed, bits, config.k), logprobs


def _octets(values: Any) -> Octets:
    return np.asarray([*map(np.asarray, values)], np.uint8).reshape(len(values), -1)


def unpack_bits(packed: Octets, bits: int, count: int) -> Longs:
    """[P, count] integers of `bits` bits, the most significant first.

    Raises:
        InputError: there are fewer bytes.
    """
    if packed.shape[1] * 8 < bits * count and len(packed):
        raise InputError(
            f"a position has {packed.shape[1]} bytes where {count} numbers of {bits} bits need "
            f"{-(-bits * count // 8)}: {CONFIG} is another capture's."
        )
    each = np.unpackbits(packed, axis=1)[:, : bits * count].reshape(len(packed), count, bits)
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    return each.astype(np.int64) @ weights


def decode_logprobs(packed: Octets, config: Compression) -> Doubles:
    """[P, k] log-probabilities, most probable first as far as the fit keeps their order."""
    reader = _Reader(packed)
    exact = reader.floats(config.exact_k, config.exact_dtype)
    others = config.k - config.exact_k
    found = np.zeros((len(packed), others))
    if config.polynomial_terms:
        coefficients = reader.floats(len(config.polynomial_terms), config.term_dtype)
        found += coefficients @ _terms(config, others).T
    start = 0
    for part in config.residual_bins:
        scale = reader.floats(1, part["scale_dtype"])
        codes = reader.codes(part["num_elements"], part["element_bits"])
        found[:, start : start + codes.shape[1]] += codes * scale
        start += codes.shape[1]
    values = np.concatenate([exact, found], axis=1)
    return np.cumsum(values, axis=1) if config.delta_encoding else values


def _terms(config: Compression, count: int) -> Doubles:
    """[count, terms]."""
    x = np.linspace(0, 1, count) if config.normalize_t else np.arange(count, dtype=np.float64)
    special = {"sqrt": np.sqrt, "exp": np.exp}
    columns = [x**t if isinstance(t, int) else special[t](x) for t in config.polynomial_terms]
    return np.stack(columns, axis=1)


class _Reader:
    """Takes numbers off the front of every position's bytes."""

    def __init__(self, packed: Octets) -> None:
        self._packed, self._at = packed, 0

    def floats(self, count: int, dtype: str) -> Doubles:
        part = self._take(count * _BYTES[dtype])
        if dtype == "bfloat16":
            halves = part.view("<u2").astype(np.uint32)
            return np.asarray((halves << 16).view(np.float32), np.float64)
        kind = np.dtype(dtype).newbyteorder("<")
        return np.asarray(part.view(kind), np.float64)

    def codes(self, count: int, bits: int) -> Doubles:
        packed = unpack_bits(self._take(-(-count * bits // 8)), bits, count)
        found: Doubles = packed.astype(np.float64)
        return found * 2 - 1 if bits == 1 else found - (1 << (bits - 1))

    def _take(self, count: int) -> Octets:
        part = self._packed[:, self._at : self._at + count]
        if part.shape[1] < count and len(part):
            raise InputError(
                f"a position has {self._packed.shape[1]} bytes, fewer than {CONFIG} says: it is "
                "another capture's."
            )
        self._at += count
        return np.ascontiguousarray(part)
