import pytest

from schemas.hidden_layers import LAYER, sorted_layers


def test_layers_stand_by_depth_each_once() -> None:
    assert sorted_layers(["last", "10", "2", "0", "10"]) == ["0", "2", "10", "last"]
    assert sorted_layers([]) == []


@pytest.mark.parametrize("text", ["0", "7", "99999", "last"])
def test_ids(text: str) -> None:
    assert LAYER.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "01", "+1", "1.0", "Last", "last ", "100000", "١", "1\n"]
)
def test_what_is_no_id(text: str) -> None:
    assert not LAYER.fullmatch(text)
