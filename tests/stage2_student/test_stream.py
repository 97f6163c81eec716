"""The stream: exact resume at every cut, any ranks, several dumps, a split that holds."""

import dataclasses
import json
from itertools import islice

import pytest
import torch

from schemas import layout
from schemas.dump_folder import open_dump, open_dumps
from schemas.errors import ConfigError, DamagedError, InputError, MismatchError
from schemas.manifest import Capture
from stage2_student.batch import Batch
from stage2_student.split import is_held_out
from stage2_student.stream import Place, Stream, open_stream
from tests.dumps import Dump, make_settings, write_dump
from tests.stage2_student.streams import SETTINGS, ids


@pytest.fixture(scope="module")
def dump(tmp_path_factory) -> Dump:
    return write_dump(tmp_path_factory.mktemp("stream") / "dump", count=60)


def stream_of(dump: Dump, place: Place | None = None, **changes: object) -> Stream:
    settings = dataclasses.replace(SETTINGS, **changes)
    return open_stream([open_dump(dump.path)], settings, place)


def same(one: Batch, other: Batch) -> bool:
    tensors = [(getattr(one, n), getattr(other, n)) for n in ("input_ids", "document_ids")]
    names = ("rows_N", "ids_NK", "logits_NK", "tail_ids_NS", "labels_N")
    tensors += [(getattr(one.targets, n), getattr(other.targets, n)) for n in names]
    return one.documents == other.documents and all(torch.equal(a, b) for a, b in tensors)


def test_an_epoch_has_every_sample_once_and_epochs_differ(dump: Dump) -> None:
    stream = stream_of(dump)
    steps = stream.plan(0).steps
    endless = iter(stream)
    first = ids(islice(endless, steps))
    second = ids(islice(endless, stream.plan(1).steps))
    endless.close()
    assert sorted(first) == sorted(second) == sorted(dump.samples)
    assert first != second
    assert first == ids(stream_of(dump).epoch_batches(0))
    assert second == ids(stream_of(dump).epoch_batches(1))


def test_resume_at_every_cut_is_exact(dump: Dump) -> None:
    whole = list(islice(iter(stream_of(dump)), 2 * stream_of(dump).plan(0).steps))
    for cut in range(1, len(whole)):
        first = stream_of(dump)
        batches = iter(first)
        list(islice(batches, cut))
        state = json.loads(json.dumps(first.state_dict()))
        batches.close()
        resumed = stream_of(dump)
        resumed.load_state_dict(state)
        follow = iter(resumed)
        assert same(next(follow), whole[cut])
        follow.close()
        sought = stream_of(dump)
        sought.seek(cut)
        assert sought.state_dict() == state


@pytest.mark.parametrize(
    ("before", "after"), [((1, 1), (2, 1)), ((2, 2), (1, 1)), ((3, 1), (2, 2)), ((1, 4), (4, 1))]
)
def test_resume_with_other_ranks_continues_the_same_steps(
    dump: Dump, before: tuple[int, int], after: tuple[int, int]
) -> None:
    whole = [ids([batch]) for batch in stream_of(dump).epoch_batches(0)]
    cut = len(whole) // 2
    first = _steps(dump, *before, start=0, steps=cut)
    second = _steps(dump, *after, start=cut, steps=len(whole) - cut)
    assert first + second == whole


def _steps(dump: Dump, world: int, micro: int, start: int, steps: int) -> list[list[str]]:
    """Per step the ids over all ranks in order; every rank has the same number of batches."""
    found: list[list[str]] = [[] for _ in range(steps)]
    for rank in range(world):
        stream = stream_of(dump, Place(rank=rank, world_size=world, micro_batches=micro))
        stream.seek(start)
        batches = list(islice(iter(stream), steps * micro))
        for number, batch in enumerate(batches):
            assert batch.step == start + number // micro
            found[number // micro] += ids([batch])
    return found


def test_a_step_whose_micro_batches_were_not_all_given_out_is_repeated(dump: Dump) -> None:
    stream = stream_of(dump, Place(micro_batches=3))
    batches = iter(stream)
    list(islice(batches, 4))
    assert stream.state_dict()["at"]["step"] == 1
    batches.close()
    assert next(iter(stream)).step == 1


def test_a_state_of_another_order_is_refused_with_both_values(dump: Dump) -> None:
    state = stream_of(dump).state_dict()
    with pytest.raises(MismatchError, match=r"(?s)rows_per_step: 4 there, 8 here.*seed: 5 .* 6"):
        stream_of(dump, rows_per_step=8, seed=6).load_state_dict(state)


def test_held_out_never_leaks(dump: Dump) -> None:
    train = set(ids(stream_of(dump, held_out=0.3).epoch_batches()))
    held = set(ids(stream_of(dump, held_out=0.3, part="held_out").epoch_batches()))
    assert train | held == set(dump.samples)
    assert not train & held
    assert held == {name for name in dump.samples if is_held_out(name, 0.3)}
    assert held


def test_without_shuffling_the_order_is_the_dumps(dump: Dump) -> None:
    stream = stream_of(dump, shuffle=False, packing=False, rows_per_step=1)
    assert sorted(ids(stream.epoch_batches())) == sorted(dump.samples)


def test_an_empty_side_is_refused(dump: Dump) -> None:
    with pytest.raises(InputError, match="--holdout"):
        stream_of(dump, part="held_out", held_out=0.0)


def test_a_sequence_longer_than_a_row_is_refused(dump: Dump) -> None:
    with pytest.raises(ConfigError, match="--max-length"):
        stream_of(dump, max_length=20)
    assert stream_of(dump, max_length=None).max_length == max(
        len(sample.input_ids) for sample in dump.samples.values()
    )


def test_a_temperature_outside_the_grid_is_refused(dump: Dump) -> None:
    with pytest.raises(ConfigError, match=r"temperature 3 .* 1, 2"):
        stream_of(dump, temperatures=(1.0, 3.0))


def test_several_dumps_read_as_one(tmp_path) -> None:
    settings = make_settings(Capture())
    parts = [
        write_dump(tmp_path / name, count=count, seed=seed, settings=settings)
        for name, count, seed in (("a", 10, 0), ("b", 30, 1))
    ]
    stream = open_stream(open_dumps([tmp_path / "*"]), SETTINGS)
    found = ids(stream.epoch_batches())
    assert sorted(found) == sorted([*parts[0].samples, *parts[1].samples])
    firsts = {
        name.split("-")[0] for batch in islice(stream.epoch_batches(), 3) for name in ids([batch])
    }
    assert firsts == {"s0", "s1"}


def test_the_split_stays_when_the_dump_grows(tmp_path) -> None:
    small = write_dump(tmp_path / "small", count=20)
    grown = write_dump(tmp_path / "grown", count=60, unit_size=5, rows_per_group=3)
    assert set(small.samples) < set(grown.samples)
    held, train = (
        [
            set(ids(stream_of(dump, held_out=0.3, part=part).epoch_batches()))
            for dump in (small, grown)
        ]
        for part in ("held_out", "train")
    )
    assert held[0] == held[1] & set(small.samples) and held[0] < held[1]
    assert train[0] == train[1] & set(small.samples)


def test_training_on_some_kinds_of_segments_masks_the_others(dump: Dump) -> None:
    for batch in stream_of(dump, train_on=("response",)).epoch_batches():
        for document in batch.documents:
            sample = dump.samples[document.id]
            start = min((s.start for s in sample.segments if s.kind == "response"), default=None)
            first, last = document.targets
            trained = (batch.targets.rows_N[first:last] % 48 - document.start + 1).tolist()
            expected = [] if start is None else range(start, len(sample.input_ids))
            assert trained == list(expected)


def _altered(path, change) -> None:
    """Changes a byte inside the data pages of a shard, keeping its size."""
    data = bytearray(path.read_bytes())
    data[change] ^= 0x55
    path.write_bytes(data)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_a_damaged_shard_is_named(tmp_path, share: float) -> None:
    dump = write_dump(tmp_path / "dump", count=16)
    shard = dump.manifest.shards[1]
    path = dump.path / layout.DATA / shard.name
    _altered(path, int(shard.bytes * share))
    with pytest.raises(DamagedError, match=shard.name):
        list(stream_of(dump).epoch_batches())


def test_a_missing_shard_is_named(tmp_path) -> None:
    dump = write_dump(tmp_path / "dump", count=16)
    name = dump.manifest.shards[1].name
    (dump.path / layout.DATA / name).unlink()
    with pytest.raises(DamagedError, match=name):
        stream_of(dump)
