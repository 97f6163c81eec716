"""How terms on hidden states are written, and what is refused with a caret under it."""

import pytest

from schemas.errors import ConfigError
from stage2_student.hidden_terms import HiddenTerm, LayerPair, teacher_layers
from stage2_student.losses import LOSSES
from stage2_student.objective import make_objective, objective_of
from stage2_student.settings import TrainSettings

PAIRS = (LayerPair(student="4", teacher="10"), LayerPair(student="last", teacher="last"))


def test_a_term_says_pairs_projector_and_weight():
    objective = make_objective(
        "fkl + 0.5*hidden_cosine(layers=4:10 last:last, projector=linear) + hidden_mse"
    )
    assert objective.hidden == (
        HiddenTerm(loss="hidden_cosine", weight=0.5, pairs=PAIRS, projector="linear"),
        HiddenTerm(loss="hidden_mse"),
    )
    assert [term.loss for term in objective.terms] == ["fkl", "ce"]
    assert objective.labels == ("fkl", "ce", "hidden_cosine", "hidden_mse")
    assert make_objective(objective.written) == objective
    assert teacher_layers(objective.hidden) == ("10", "last")


def test_a_list_says_the_same():
    listed = [
        "fkl",
        {"loss": "hidden_cosine", "weight": 0.5, "layers": "4:10   last:last"},
    ]
    settings = TrainSettings(dump=["d"], out="o", student="s", loss=listed)
    expected = make_objective("fkl + .5*hidden_cosine(layers=4:10 last:last)")
    assert objective_of(settings) == expected


def test_hidden_states_alone_have_cross_entropy_logged_beside_them():
    objective = make_objective("hidden_normalised")
    assert [(term.loss, term.weight) for term in objective.terms] == [("ce", 0.0)]
    assert objective.labels == ("ce", "hidden_normalised")
    assert objective.written == "hidden_normalised"


def test_terms_of_one_loss_have_names_of_their_own_in_logs():
    objective = make_objective("hidden_mse(layers=1:2) + hidden_mse(layers=last:last 2:4)")
    assert objective.labels == (
        *("ce", "hidden_mse layers 1-2", "hidden_mse layers last-last 2-4"),
    )


def test_weights_change_over_the_steps_and_rest_in_the_warm_up():
    objective = make_objective("fkl + linear(1, 0)*hidden_mse + 2*hidden_cosine")
    assert [t.weight for t in objective.at(5, 10).summands] == [1, 0, 0.5, 2]
    settings = TrainSettings(
        dump=["d"], out="o", student="s", loss="fkl + hidden_mse", ce_warmup_steps=3
    )
    warm = objective_of(settings)
    assert [t.weight for t in warm.at(0, 10).summands] == [0, 1, 0]
    assert [t.weight for t in warm.at(3, 10).summands] == [1, 0, 1]


CARETS = {
    "fkl + hidden_cosin": ("unknown loss", "hidden_cosin", "Did you mean 'hidden_cosine'?"),
    "hidden_mse(layer=4:10)": ("no argument 'layer'", "layer=", "Did you mean 'layers'?"),
    "hidden_mse(layers=4)": ("pairs student:teacher", "4)", "In YAML, put it in quotes"),
    "hidden_mse(layers=4:x)": ("found 4:x", "4:x", "Write for example"),
    "hidden_mse(layers=04:1)": ("found 04:1", "04:1", "Write for example"),
    "hidden_mse(layers=1:2 1:2)": ("a pair twice", "1:2 1:2", "Leave one"),
    "hidden_mse(projector=lin)": ("unknown projector 'lin'", "lin)", "'linear'"),
    "hidden_mse(layers=1:2, layers=1:3)": ("given twice", "layers=1:3", "Leave one"),
    "fkl(temperature=1:2)": ("positive number; found 1:2", "1:2", "Try 1 or 2"),
    "hidden_mse(temperature=2)": ("no argument 'temperature'", "temperature", "Known: layers"),
}


@pytest.mark.parametrize("text", CARETS)
def test_what_is_wrong_is_shown(text):
    problem, place, advice = CARETS[text]
    with pytest.raises(ConfigError) as raised:
        make_objective(text)
    first, shown, caret, *rest = str(raised.value).split("\n")
    assert problem in first
    assert caret.index("^") == shown.index(place)
    assert advice in "\n".join(rest)


def test_an_unknown_loss_is_shown_all_there_are():
    with pytest.raises(ConfigError, match=rf"Known: {', '.join(LOSSES)}, hidden_mse, "):
        make_objective("nothing")


def test_the_same_term_twice_is_refused():
    with pytest.raises(ConfigError, match=r"has the term hidden_mse twice"):
        make_objective("hidden_mse + fkl + hidden_mse")


def test_weights_of_zero_are_refused():
    with pytest.raises(ConfigError, match=r"weights of the loss sum to zero: 0\*ce \+ 0\*hidden"):
        make_objective("0*ce + 0*hidden_mse")
