from dataclasses import replace

import numpy as np
import pytest

from schemas.columns import arrow_schema
from schemas.errors import DamagedError
from schemas.hidden_states import layer_states
from schemas.manifest import Capture
from stage1_teacher import hidden_tables
from stage1_teacher.hidden_policy import with_widths
from stage1_teacher.hidden_tables import hidden_recipe, hidden_table
from tests.capture_twin import capture_twin
from tests.dumps import VOCABULARY, hidden_policy, make_samples, make_states, with_hidden


def rows_of(count, capture):
    rng = np.random.default_rng(0)
    for sample in make_samples(count):
        logits = rng.standard_normal((len(sample.input_ids), VOCABULARY))
        yield (
            sample,
            with_hidden(capture_twin(sample, logits, capture, 0), make_states(sample, capture)),
        )


def test_bf16_holds_every_state_of_every_position():
    capture = hidden_policy("bf16", ["2", "10"], 4)
    rows, recipe = list(rows_of(5, capture)), hidden_recipe(capture)
    table = hidden_table(rows, recipe)
    assert table.schema == arrow_schema(recipe.columns)
    assert table["id"].to_pylist() == [sample.id for sample, _ in rows]
    for layer in ("2", "10"):
        expected = np.concatenate([make_states(s, capture)[layer] for s, _ in rows])
        np.testing.assert_array_equal(layer_states(table, layer, capture).values, expected)


def test_all_rows_of_a_row_group_carry_its_channels():
    capture = hidden_policy("int8", ["2"], 4)
    rows = list(rows_of(5, capture))
    first, *others = hidden_table(rows, hidden_recipe(capture))["hidden_2_channels"].to_pylist()
    assert len(first) == 4 and all(other == first for other in others)
    alone = hidden_table(rows[:1], hidden_recipe(capture))["hidden_2_channels"].to_pylist()
    assert alone[0] != first


@pytest.mark.parametrize("block", [3, 1 << 20])
def test_states_are_projected_before_they_are_stored(monkeypatch, block):
    monkeypatch.setattr(hidden_tables, "_BLOCK", block)
    capture = with_widths(hidden_policy("bf16", ["last"], 40), 40, 8)
    rows, recipe = list(rows_of(5, capture)), hidden_recipe(capture)
    assert recipe.projection.shape == (40, 8)
    found = layer_states(hidden_table(rows, recipe), "last", capture).values
    exact = np.concatenate([make_states(s, capture)["last"] for s, _ in rows]) @ recipe.projection
    np.testing.assert_allclose(found, exact, rtol=2**-8, atol=1e-6)


def test_states_of_another_shape_are_refused():
    capture = hidden_policy("int8", ["2"], 4)
    (sample, signals), *_ = rows_of(1, capture)
    for hidden in ({}, {"2": signals.hidden["2"][:-1]}, {"2": signals.hidden["2"][:, :3]}):
        with pytest.raises(DamagedError, match=r"left the hidden states .* layer 2"):
            hidden_table([(sample, replace(signals, hidden=hidden))], hidden_recipe(capture))


def test_a_policy_without_hidden_states_has_no_recipe():
    assert hidden_recipe(Capture()) is None
