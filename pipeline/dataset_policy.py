"""From one capture policy to a smaller one, row group by row group, without the teacher.

What is no longer kept goes into the tail: into its mass at every temperature, and by a systematic
draw into its sample. FORMAT.md section 11 says what that means for a reader.

Shapes: P captured positions, E kept entries, D draws, all of a row group.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.codecs import CODECS, Codec
from schemas.columns import temperature_column
from schemas.manifest import Capture
from schemas.row_group import NestedLists, RowGroup, list_column, nested_column
from stage1_teacher.uniforms import uniforms

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_LARGEST_TAIL = 1 - 1e-6
"""Something is always kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From one policy to another.

    Attributes:
        old: the policy of the rows that come in.
        new: that of those that go out; it keeps less.
        codec: rounds the new tail masses.
        salt: tells this change from others made before, so that draws are independent.
    """

    old: Capture
    new: Capture
    codec: Codec
    salt: str

    @classmethod
    def of(cls, old: Capture, new: Capture, codec: str, salt: str) -> "Change":
        """With the codec of that name."""
        return cls(old=old, new=new, codec=CODECS[codec], salt=salt)


def changed(table: pa.Table, change: Change) -> pa.Table:
    """The row group under the new policy: the same columns, those of temperatures fewer."""
    group = RowGroup.of(table)
    kept = _Kept.of(group, change)
    columns = {
        "topk_ids": _nested(group.topk_ids, kept.counts, group.topk_ids.values[kept.stays]),
        "topk_logits": _nested(group.topk_ids, kept.counts, group.topk_logits.values[kept.stays]),
        **_masses(table, group, kept, change),
        **_sample(table, group, kept, change),
    }
    arrays = [columns.get(name, table[name]) for name in table.column_names]
    return pa.Table.from_arrays(arrays, schema=table.schema)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Kept:
    """Which entries stay.

    Attributes:
        owner: [E] the position of each entry.
        starts: [P] its position's first entry.
        stays: [E] whether it is still kept.
        counts: [P] how many are.
        shares: [E] its probability at temperature 1.
        tail: [P] the old tail mass, as a probability.
        realised: [P] probability of the realised token where that one goes, else 0.
    """

    owner: Indices
    starts: Indices
    stays: Bools
    counts: Indices
    shares: Doubles
    tail: Doubles
    realised: Doubles

    @classmethod
    def of(cls, group: RowGroup, change: Change) -> "_Kept":
        inner = group.topk_ids.inner
        owner = np.repeat(np.arange(len(inner) - 1), np.diff(inner))
        rank = np.arange(len(owner)) - inner[:-1][owner]
        shares = _shares(group.topk_logits, group.tail_logmass.values, owner, 1.0)
        stays = rank < change.new.top_k
        threshold = change.new.min_prob
        if threshold is not None and threshold != change.old.min_prob:
            stays &= (shares >= threshold) | (rank == 0)
        labels = _labels(group)
        leaves = np.zeros(len(labels), np.bool_)
        leaves[owner[~stays & (group.topk_ids.values == labels[owner])]] = True
        exact = np.exp(group.token_logprobs.values.astype(np.float64))
        return cls(
            owner=owner,
            starts=inner[:-1],
            stays=stays,
            counts=np.bincount(owner[stays], minlength=len(inner) - 1),
            shares=shares,
            tail=np.exp(group.tail_logmass.values.astype(np.float64)),
            realised=np.where(leaves, exact, 0.0),
        )


def _shares(
    logits: NestedLists, tail: npt.NDArray[np.float32], owner: Indices, t: float
) -> Doubles:
    """[E] decoded probabilities at temperature t."""
    if not len(owner):
        return np.zeros(0)
    weights = np.exp(logits.values.astype(np.float64) / t)
    totals = np.add.reduceat(weights, logits.inner[:-1])
    shares: Doubles = weights * (-np.expm1(tail.astype(np.float64)) / totals)[owner]
    return shares


def _labels(group: RowGroup) -> npt.NDArray[np.int32]:
    rows = np.repeat(group.tokens.offsets[:-1], np.diff(group.positions.offsets))
    labels: npt.NDArray[np.int32] = group.tokens.values[rows + group.positions.values + 1]
    return labels


def _masses(
    table: pa.Table, group: RowGroup, kept: _Kept, change: Change
) -> Mapping[str, pa.Array]:
    columns = {}
    lost = kept.counts < np.diff(group.topk_ids.inner)
    for temperature in sorted({1.0, *change.new.temperatures}):
        name = temperature_column(temperature).name
        old = list_column(table, name)
        values = old.values.copy()
        if lost.any():
            shares = _shares(group.topk_logits, old.values, kept.owner, temperature)
            gone = np.bincount(kept.owner, shares * ~kept.stays, minlength=len(values))
            tails = np.exp(old.values.astype(np.float64)) + gone
            if temperature == 1.0:
                tails = np.maximum(tails, kept.realised)
            masses = np.log(np.minimum(tails[lost], _LARGEST_TAIL)).astype(np.float32)
            values[lost] = change.codec.round_logmass(masses)
        columns[name] = _lists(old.offsets, pa.array(values, pa.float32()))
    return columns


def _sample(
    table: pa.Table, group: RowGroup, kept: _Kept, change: Change
) -> Mapping[str, pa.Array]:
    """The tail sample: some of the old draws, then draws from the entries that are gone."""
    ids, logits = nested_column(table, "tail_ids"), nested_column(table, "tail_logits")
    count = len(ids.inner) - 1
    samples = change.new.tail_samples
    if samples == 0:
        owner, which, gone = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    else:
        first, second = _uniform_pairs(table, group, change.salt)
        owner, which = _thinned(ids, change.old.tail_samples // samples, first)
        gone = _drawn(group, kept, samples, np.bincount(owner, minlength=count), second)
    owners = np.concatenate([owner, kept.owner[gone]])
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=count)
    new_ids = np.concatenate([ids.values[which], group.topk_ids.values[gone]])[order]
    new_logits = np.concatenate([logits.values[which], group.topk_logits.values[gone]])[order]
    return {
        "tail_ids": _nested(ids, counts, new_ids),
        "tail_logits": _nested(ids, counts, new_logits),
    }


def _thinned(ids: NestedLists, every: int, uniform: Doubles) -> tuple[Indices, Indices]:
    """Position and place of every n-th draw, from a random one of the first n on."""
    owner = np.repeat(np.arange(len(ids.inner) - 1), np.diff(ids.inner))
    rank = np.arange(len(owner)) - ids.inner[:-1][owner]
    chosen = rank % every == np.floor(uniform * every).astype(np.int64)[owner]
    return owner[chosen], np.flatnonzero(chosen)


def _drawn(
    group: RowGroup, kept: _Kept, samples: int, before: Indices, uniform: Doubles
) -> Indices:
    """[D] entries that are gone, each as often as it is drawn.

    The points (u+i)/S that lay in the old tail gave `before` draws; u is uniform among those that
    give so many, and the points go on through the gone entries, ascending by id.
    """
    places = kept.tail * samples
    whole = np.floor(places)
    rest = places - whole
    more, less = before == whole + 1, before == whole
    u = np.where(more, uniform * rest, np.where(less, rest + uniform * (1 - rest), uniform))
    gone = np.flatnonzero(~kept.stays)
    gone = gone[np.lexsort((group.topk_ids.values[gone], kept.owner[gone]))]
    owner = kept.owner[gone]
    sums = np.cumsum(kept.shares[gone])
    firsts = np.searchsorted(owner, owner, "left")
    before_position = np.where(firsts > 0, sums[firsts - 1], 0.0)
    ends = (kept.tail[owner] + sums - before_position) * samples - u[owner]
    starts = ends - kept.shares[gone] * samples
    times = (np.ceil(ends) - np.ceil(starts)).astype(np.int64)
    return np.repeat(gone, np.maximum(times, 0))


def _uniform_pairs(table: pa.Table, group: RowGroup, salt: str) -> tuple[Doubles, Doubles]:
    """Two uniform numbers per position, from the sample's id and the position alone."""
    keys = np.asarray([_key(salt, name) for name in table["id"].to_pylist()], np.uint64)
    of_position = np.repeat(keys, np.diff(group.positions.offsets))
    places = group.positions.values * 2
    return uniforms(of_position, places), uniforms(of_position, places + 1)


def _key(salt: str, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}:{name}".encode()).digest()[:8], "little")


def _nested(like: NestedLists, counts: Indices, values: npt.NDArray[np.generic]) -> pa.Array:
    """Lists of lists: rows as they were, positions with `counts` values each."""
    inner = np.concatenate([[0], np.cumsum(counts)])
    return _lists(like.outer, _lists(inner, pa.array(values)))


def _lists(offsets: Indices, values: pa.Array) -> pa.Array:
    kind = pa.list_(pa.field("element", values.type, nullable=False))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=kind)
