"""Weights of positions as a stream gives them, against the samples' segments and verdicts."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from schemas.columns import BY_NAME
from schemas.dump_folder import open_dump
from schemas.errors import ConfigError
from schemas.row_group import Lists, list_column, positions, span_column
from stage2_student.shard_reader import Wanted
from stage2_student.stream import StreamSettings, open_stream
from stage2_student.token_weights import TokenWeights, check_weights, label_weights, weights_of
from tests.dumps import Dump, write_dump


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    return write_dump(tmp_path_factory.mktemp("weights") / "dump", count=12)


def batches(dump: Dump, weights: TokenWeights, **given):
    settings = StreamSettings(rows_per_step=3, weights=weights, **given)
    return list(open_stream([open_dump(dump.path)], settings).epoch_batches())


def test_a_position_weighs_what_the_segment_of_its_next_token_does(dump: Dump) -> None:
    kinds = {"text": 3.0, "response": 0.25}
    seen = 0
    for batch in batches(dump, TokenWeights(kinds=kinds)):
        for document in batch.documents:
            sample = dump.samples[document.id]
            first, last = document.targets
            for target, position in zip(range(first, last), sample.positions, strict=True):
                kind = next(s.kind for s in sample.segments if s.start <= position + 1 < s.end)
                assert batch.targets.weights_N[target] == kinds.get(kind, 1.0)
                seen += 1
    assert seen == sum(len(s.positions) for s in dump.samples.values())


def test_kinds_go_together_with_training_on_some_kinds_only(dump: Dump) -> None:
    found = batches(dump, TokenWeights(kinds={"response": 2.0}), train_on=("response",))
    assert all((batch.targets.weights_N == 2).all() for batch in found)
    assert sum(len(batch.targets.weights_N) for batch in found)


def test_the_teachers_entropy_multiplies(dump: Dump) -> None:
    alone = batches(dump, TokenWeights(teacher="entropy"))
    both = batches(dump, TokenWeights(teacher="entropy", kinds={"text": 2.0, "response": 2.0}))
    for one, other in zip(alone, both, strict=True):
        assert one.targets.weights_N.std() > 0
        np.testing.assert_allclose(2 * one.targets.weights_N, other.targets.weights_N)


def table(verdicts):
    """Three rows of four tokens, a prompt and an answer each, captured but for the last token."""
    rows = len(verdicts)
    segments = [{"kind": "prompt", "start": 0, "end": 2}, {"kind": "answer", "start": 2, "end": 4}]
    names = ("input_ids", "segments", "captured", "verdict")
    values = [[[1, 2, 3, 4]] * rows, [segments] * rows, [[{"start": 0, "end": 3}]] * rows, verdicts]
    columns = [pa.array(v, BY_NAME[n].type) for n, v in zip(names, values, strict=True)]
    return pa.table(dict(zip(names, columns, strict=True)))


def weigh(found, weights):
    captured = positions(span_column(found, "captured"))
    tokens: Lists = list_column(found, "input_ids")
    starts = np.repeat(tokens.offsets[:-1], np.diff(captured.offsets))
    return label_weights(found, weights, captured, starts + captured.values + 1)


def test_rows_that_are_wrong_weigh_less_and_unknown_ones_do_not() -> None:
    found = table([True, False, None])
    weights = weigh(found, TokenWeights(wrong=0.5, kinds={"answer": 2.0}))
    assert weights.tolist() == [1, 2, 2, 0.5, 1, 1, 1, 2, 2]
    assert weigh(found, TokenWeights(wrong=0.0)).tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert weigh(found.slice(1, 2), TokenWeights(kinds={"answer": 2.0})).tolist() == [
        *(1, 2, 2, 1, 2, 2),
    ]


def test_without_weights_no_column_is_read_for_them() -> None:
    assert weigh(table([True]), TokenWeights()) is None
    assert not {"segments", "verdict"} & set(Wanted().columns)
    wanted = Wanted(weights=TokenWeights(kinds={"answer": 2.0}, wrong=0.0))
    assert {"segments", "verdict"} <= set(wanted.columns)


def test_verdicts_that_a_dump_does_not_hold_are_missed_before_any_work(dump: Dump) -> None:
    folder = open_dump(dump.path)
    check_weights(TokenWeights(kinds={"answer": 2.0}), [folder])
    with pytest.raises(ConfigError, match=r"holds no verdicts.*wrong_weight 0"):
        check_weights(TokenWeights(wrong=0.0), [folder])


def test_the_words_of_a_user() -> None:
    settings = SimpleNamespace(token_weights=["answer=2"], wrong_weight=0.5, weigh_by="entropy")
    expected = TokenWeights(kinds={"answer": 2.0}, wrong=0.5, teacher="entropy")
    assert weights_of(settings) == expected
