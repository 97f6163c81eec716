"""Batches against the obvious twin: every number at its place, documents kept apart."""

import numpy as np
import pytest
import torch

from schemas.dump_folder import open_dump
from schemas.manifest import Capture
from stage2_student.batch import Batch
from stage2_student.collate import BatchShape, collate, dense_places
from stage2_student.stream import Place, StreamSettings, open_stream
from tests.dumps import VOCABULARY, Dump, write_dump
from tests.stage2_student.batch_twin import Expected, found_position

CAPTURES = {
    "default": Capture(min_prob=1 / 32, top_k=8, tail_samples=16, temperatures=[1.0, 2.0]),
    "top-k": Capture(min_prob=None, top_k=5, tail_samples=0, temperatures=[1.0, 2.0]),
    "whole": Capture(min_prob=None, top_k=VOCABULARY, tail_samples=4, temperatures=[1.0, 2.0]),
    "one": Capture(min_prob=None, top_k=1, tail_samples=32, temperatures=[1.0, 2.0]),
}


@pytest.fixture(params=CAPTURES, scope="module")
def dump(request, tmp_path_factory) -> Dump:
    path = tmp_path_factory.mktemp("collate") / "dump"
    return write_dump(path, count=24, capture=CAPTURES[request.param])


def batches_of(dump: Dump, **settings: object) -> list[Batch]:
    given = {"rows_per_step": 3, "temperatures": (1.0, 2.0)} | settings
    stream = open_stream([open_dump(dump.path)], StreamSettings(**given))
    return list(stream.epoch_batches())


@pytest.mark.parametrize("packing", [True, False])
def test_every_position_of_the_dump_once_and_right(dump: Dump, packing: bool) -> None:
    """Target row t carries the teacher's distribution over token t+1 of that document."""
    twin = Expected(dump)
    seen = set()
    for batch in batches_of(dump, packing=packing):
        length = batch.input_ids.shape[1]
        for document in batch.documents:
            sample = dump.samples[document.id]
            assert document.source == sample.source
            for target in range(*document.targets):
                row, place = divmod(int(batch.targets.rows_N[target]), length)
                position = place - document.start
                assert row == document.row
                assert 0 <= position < document.length - 1
                seen.add((document.id, position))
                expected = twin.position(document.id, position)
                assert found_position(batch, target) == expected
                assert expected["label"] == batch.input_ids[row, place + 1]
    assert seen == {(s.id, p) for s in dump.samples.values() for p in s.positions.tolist()}


@pytest.mark.parametrize("packing", [True, False])
def test_documents_are_apart_and_whole(dump: Dump, packing: bool) -> None:
    for batch in batches_of(dump, packing=packing):
        covered = torch.zeros_like(batch.input_ids)
        numbers: dict[int, int] = {}
        for document in batch.documents:
            span = slice(document.start, document.start + document.length)
            tokens = dump.samples[document.id].input_ids
            number = numbers[document.row] = numbers.get(document.row, 0) + 1
            assert batch.input_ids[document.row, span].tolist() == tokens.tolist()
            assert batch.position_ids[document.row, span].tolist() == [*range(len(tokens))]
            assert set(batch.document_ids[document.row, span].tolist()) == {number}
            covered[document.row, span] += 1
        assert covered.max() == 1
        for padding in (batch.input_ids, batch.position_ids, batch.document_ids):
            assert (padding[covered == 0] == 0).all()
        assert packing or set(numbers.values()) == {1}


def test_targets_are_ascending_and_inside_one_document(dump: Dump) -> None:
    for batch in batches_of(dump):
        rows = batch.targets.rows_N
        documents = batch.document_ids.flatten()
        assert (rows.diff() > 0).all()
        assert (documents[rows] > 0).all()
        assert (documents[rows] == documents[rows + 1]).all()


def test_types(dump: Dump) -> None:
    targets = batches_of(dump)[0].targets
    for name in ("rows_N", "ids_NK", "tail_ids_NS", "labels_N"):
        assert getattr(targets, name).dtype == torch.int64
    for name in ("logits_NK", "tail_logits_NS", "token_logprobs_N", "weights_N"):
        assert getattr(targets, name).dtype == torch.float32
    assert targets.draws_per_unit == dump.manifest.capture.tail_samples
    assert targets.ids_NK.shape[1] <= dump.manifest.capture.top_k


def test_training_on_some_kinds_only(dump: Dump) -> None:
    """A position belongs to the kind of the token that it predicts."""
    twin = Expected(dump)
    for batch in batches_of(dump, train_on=("response",)):
        for document in batch.documents:
            sample = dump.samples[document.id]
            spans = [s for s in sample.segments if s.kind == "response"]
            trained = [p for p in sample.positions if any(s.start <= p + 1 < s.end for s in spans)]
            first, last = document.targets
            assert last - first == len(trained)
            for target, position in zip(range(first, last), trained, strict=True):
                expected = twin.position(document.id, int(position))
                assert found_position(batch, target) == expected


def test_without_the_tail_sample(dump: Dump) -> None:
    targets = batches_of(dump, tail_sample=False)[0].targets
    assert targets.tail_ids_NS.shape == (len(targets.rows_N), 0)
    assert targets.draws_per_unit == 0


def test_no_rows_give_a_row_of_padding() -> None:
    shape = BatchShape(length=16, draws_per_unit=8, temperatures=(1.0, 2.0), epoch=0, step=0)
    batch = collate([], shape)
    assert batch.input_ids.shape == (1, 16)
    assert batch.targets.ids_NK.shape == (0, 1)
    assert batch.targets.tail_ids_NS.shape[0] == 0
    assert set(batch.targets.tail_logmass_N) == {1.0, 2.0}
    assert batch.documents == ()


def test_a_rank_without_rows_gets_padding(dump: Dump) -> None:
    stream = open_stream(
        [open_dump(dump.path)],
        StreamSettings(rows_per_step=2),
        Place(rank=0, world_size=3, micro_batches=1),
    )
    assert all(not batch.documents for batch in stream.epoch_batches())


def test_dense_places() -> None:
    assert dense_places(np.asarray([2, 0, 3]), 4).tolist() == [0, 1, 8, 9, 10]
