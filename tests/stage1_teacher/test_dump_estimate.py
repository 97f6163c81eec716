import pytest

from schemas.manifest import Capture
from stage1_teacher.dump_estimate import estimate
from stage1_teacher.dump_size import expected_bytes
from tests.stage1_teacher.prepared_dumps import prepared_dump


def test_a_small_corpus_is_counted_exactly():
    prepared = prepared_dump(rows=40)
    samples = list(prepared.rows())
    found = estimate(prepared)
    assert (found.rows, found.sampled_rows, found.sequences, found.units) == (40, 40, 40, 5)
    assert found.tokens == sum(len(sample.input_ids) for sample in samples)
    assert found.positions == sum(len(sample.positions) for sample in samples)
    assert found.bytes == expected_bytes(found.tokens, found.positions, Capture())


def test_a_large_one_is_extrapolated_from_rows_spread_over_it():
    prepared = prepared_dump(rows=1000)
    found = estimate(prepared)
    assert found.sampled_rows == 250
    exact = sum(len(sample.input_ids) for sample in prepared.rows())
    assert found.tokens == pytest.approx(exact, rel=0.1)


# bytes per token that facts measured: whole files of English text, V = 49,152
MEASURED = [
    (Capture(min_prob=None, top_k=32, tail_samples=0), 69.4),
    (Capture(min_prob=None, top_k=64, tail_samples=0), 130.9),
    (Capture(min_prob=None, top_k=128, tail_samples=0), 253.0),
    (Capture(min_prob=1 / 128, tail_samples=0), 25.5),
    (Capture(min_prob=1 / 256, tail_samples=0), 37.1),
    (Capture(min_prob=1 / 512, tail_samples=0), 54.4),
    (Capture(min_prob=1 / 1024, tail_samples=0), 70.8),
    (Capture(), 70.0),
]


@pytest.mark.parametrize(("capture", "measured"), MEASURED)
def test_sizes_are_near_measured_ones(capture, measured):
    assert expected_bytes(1000, 1000, capture) / 1000 == pytest.approx(measured, rel=0.06)


def test_more_of_anything_is_larger():
    hidden = {"hidden_codec": "int8", "hidden_width": 512, "optional_columns": ["max_logit"]}
    sizes = [
        expected_bytes(1000, 1000, Capture(**given))
        for given in (
            {"tail_samples": 0},
            {},
            {"optional_columns": ["max_logit"]},
            {**hidden, "hidden_layers": ["1"]},
            {**hidden, "hidden_layers": ["1"], "hidden_codec": "bf16"},
            {**hidden, "hidden_layers": ["1", "last"]},
        )
    ]
    assert sizes == sorted(set(sizes))
    assert expected_bytes(1000, 500, Capture()) < expected_bytes(1000, 1000, Capture())
