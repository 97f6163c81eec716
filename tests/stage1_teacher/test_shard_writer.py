from dataclasses import replace

import numpy as np

from schemas.codecs import CODECS
from schemas.manifest import Capture
from schemas.shards import ROWS_PER_GROUP, TOKENS_PER_GROUP
from stage1_teacher.hidden_tables import hidden_recipe
from stage1_teacher.shard_writer import Recipe, chunks, row_groups
from tests.dumps import make_samples


def of_lengths(*lengths):
    sample = make_samples(1)[0]
    return [
        replace(sample, id=str(n), input_ids=np.zeros(length, np.int32))
        for n, length in enumerate(lengths)
    ]


def length(sample):
    return len(sample.input_ids)


def test_chunks_keep_the_order_and_the_budget():
    samples = of_lengths(5, 5, 1, 30, 2, 8, 1)
    found = [[s.id for s in chunk] for chunk in chunks(samples, 10, length)]
    assert found == [["0", "1"], ["2"], ["3"], ["4", "5"], ["6"]]
    assert list(chunks([], 10, length)) == []


def test_row_groups_end_at_64_rows_or_at_20000_tokens():
    short = [(s, None) for s in of_lengths(*[10] * (ROWS_PER_GROUP * 2 + 1))]
    assert [len(group) for group in row_groups(short)] == [ROWS_PER_GROUP, ROWS_PER_GROUP, 1]
    long = [(s, None) for s in of_lengths(*[TOKENS_PER_GROUP // 2] * 5)]
    assert [len(group) for group in row_groups(long)] == [2, 2, 1]
    huge = [(s, None) for s in of_lengths(TOKENS_PER_GROUP * 2, 3)]
    assert [len(group) for group in row_groups(huge)] == [1, 1]
    assert list(row_groups([])) == []


def recipe(batch_tokens, **policy):
    capture = Capture(**policy)
    return Recipe(
        capture=capture,
        codec=CODECS["gap5"],
        columns=[],
        seed=0,
        hidden=hidden_recipe(capture),
        batch_tokens=batch_tokens,
    )


def test_a_chunk_is_many_batches_but_bounded_in_memory():
    assert recipe(8192).chunk_tokens == 16 * 8192
    hidden = {"hidden_codec": "bf16", "hidden_layers": [str(n) for n in range(8)]}
    wide = recipe(8192, hidden_width=8192, **hidden)
    assert wide.chunk_tokens == 8192, "at least one batch"
    some = recipe(1024, hidden_width=4096, **{**hidden, "hidden_layers": ["1"]})
    assert some.chunk_tokens * 2 * 4096 <= 256 << 20
