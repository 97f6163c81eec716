"""Which layers are compared, and what is refused before any training."""

from types import SimpleNamespace

import pytest
import torch
import transformers

from schemas.errors import ConfigError, ModelError
from schemas.manifest import Capture
from stage1_teacher.hidden_policy import with_widths
from stage2_student.hidden_terms import HiddenTerm, LayerPair
from stage2_student.layer_mapping import automatic_pairs, check_hidden, common_layers, mapped
from stage2_student.state_proof import state_widths
from tests.dumps import hidden_policy
from tests.stage2_student.architectures import CONFIGS, build
from tests.stage2_student.trainings import SHAPE


def dump(layers=("0", "2", "last"), width=32, **more):
    capture = hidden_policy(layers=layers, width=width, **more)
    return SimpleNamespace(url="dumps/a", manifest=SimpleNamespace(capture=capture))


def model(**given):
    config = transformers.LlamaConfig(**{**SHAPE, **given})
    return transformers.AutoModelForCausalLM.from_config(config)


def text(pairs):
    return " ".join(map(str, pairs))


@pytest.mark.parametrize(
    ("layers", "count", "depth", "expected"),
    [
        (("10", "20", "last"), 6, 30, "2:10 4:20 last:last"),
        (("0", "1", "30"), 6, 30, "0:0 1:1 6:30"),
        (("14", "15"), 6, 30, "3:15"),
        (("5", "10"), 30, 10, "15:5 30:10"),
    ],
)
def test_layers_are_mapped_by_depth(layers, count, depth, expected):
    capture = Capture(hidden_layers=list(layers), hidden_width=32, hidden_depth=depth)
    student = model(num_hidden_layers=count)
    assert text(automatic_pairs(layers, capture, student, ())) == expected


def test_a_carved_student_has_the_layers_that_it_kept():
    """The teacher's 15 has passed its layers 0 to 14, of which the student has five."""
    kept = [0, 1, 4, 8, 12, 16, 28, 29]
    capture = Capture(hidden_layers=["1", "15", "30"], hidden_width=32)
    student = model(num_hidden_layers=8)
    assert text(automatic_pairs(["1", "15", "30"], capture, student, kept)) == "1:1 5:15 8:30"
    narrower = Capture(hidden_layers=["15"], hidden_width=48, hidden_depth=30)
    assert text(automatic_pairs(["15"], narrower, student, kept)) == "4:15"


def test_an_older_dump_does_not_say_how_deep_its_teacher_is():
    capture = Capture(hidden_layers=["15"], hidden_width=32)
    with pytest.raises(ConfigError, match=r"does not say how many layers .* Give the pairs"):
        automatic_pairs(["15"], capture, model(), ())
    last = Capture(hidden_layers=["0", "last"], hidden_width=32)
    assert text(automatic_pairs(["0", "last"], last, model(), ())) == "0:0 last:last"


@pytest.mark.parametrize(
    ("asked", "width", "found"),
    [("auto", 32, "none"), ("auto", 48, "linear"), ("linear", 32, "linear"), ("none", 32, "none")],
)
def test_a_projector_is_learned_where_widths_differ_or_it_is_asked_for(asked, width, found):
    term = HiddenTerm(loss="hidden_mse", projector=asked)
    (done,) = mapped([term], [dump(("last",), width)], model(), ())
    assert (done.projector, text(done.pairs)) == (found, "last:last")


def test_a_projected_dump_needs_none_for_a_student_as_wide_as_the_teacher():
    narrow = with_widths(hidden_policy(layers=("last",), width=32), 32, 8)
    held = SimpleNamespace(url="d", manifest=SimpleNamespace(capture=narrow))
    (done,) = mapped([HiddenTerm(loss="hidden_mse")], [held], model(), ())
    assert done.projector == "none"
    eight = model(hidden_size=8, head_dim=2)
    (done,) = mapped([HiddenTerm(loss="hidden_mse")], [held], eight, ())
    assert done.projector == "linear"


def test_none_where_one_is_needed_is_refused_with_both_widths():
    term = HiddenTerm(loss="hidden_mse", projector="none")
    with pytest.raises(ConfigError, match=r"layer last is 32 wide and the teacher's states are 48"):
        mapped([term], [dump(("last",), 48)], model(), ())


def test_a_layer_beyond_the_student_is_refused():
    term = HiddenTerm(loss="hidden_mse", pairs=(LayerPair(student="3", teacher="2"),))
    with pytest.raises(ConfigError, match=r"hidden layer 3 is beyond the student, .* 0 .* to 2"):
        mapped([term], [dump()], model(), ())


def test_layers_that_the_dump_lacks_are_refused():
    term = HiddenTerm(loss="hidden_mse", pairs=(LayerPair(student="1", teacher="15"),))
    expected = (
        r"dumps/a does not hold the teacher's layer 15, .* it holds 0, 2, last\. .*-layers 15"
    )
    with pytest.raises(ConfigError, match=expected):
        check_hidden([term], [dump()])
    none = SimpleNamespace(url="dumps/a", manifest=SimpleNamespace(capture=Capture()))
    with pytest.raises(ConfigError, match=r"hidden_mse compares hidden states, .* holds none"):
        check_hidden([HiddenTerm(loss="hidden_mse")], [none])
    check_hidden([], [none])


def test_dumps_with_other_states_are_refused_and_the_common_layers_taken():
    term = HiddenTerm(loss="hidden_mse")
    with pytest.raises(ConfigError, match=r"\(32 wide\) .* \(48 wide\) are not alike"):
        check_hidden([term], [dump(), dump(width=48)])
    check_hidden([term], [dump(), dump(("2", "last", "3"), codec="bf16")])
    assert common_layers([dump(), dump(("2", "3", "last"))]) == ["2", "last"]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_tells_its_states(name):
    student = build(name)
    count = student.config.get_text_config().num_hidden_layers
    width = student.config.get_text_config().hidden_size
    layers = ["0", "1", str(count), "last"]
    assert state_widths(student, layers) == dict.fromkeys(layers, width)


def test_a_layer_that_changes_another_ones_states_is_refused():
    student = model()

    class InPlace(torch.nn.Module):
        def forward(self, hidden, **_):
            return hidden.add_(1)

    student.model.layers[1] = InPlace()
    with pytest.raises(ModelError, match="cannot tell the hidden states of layer 1"):
        state_widths(student, ["1", "2"])
