"""Mixtures, phases and caps of several dumps: exact resume, and what they read."""

import dataclasses
import json
from collections import Counter
from itertools import islice

import pytest

from schemas.dump_folder import DumpFolder, open_dumps
from schemas.errors import ConfigError, MismatchError
from schemas.manifest import Capture
from stage2_student.curriculum import Phase
from stage2_student.mixture import Mixture
from stage2_student.row_filter import RowFilter
from stage2_student.stream import Place, open_stream
from tests.dumps import make_settings, write_dump
from tests.stage2_student.streams import SETTINGS, ids


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> list[DumpFolder]:
    """Two dumps of different sizes, of two sources each."""
    folder = tmp_path_factory.mktemp("pair")
    settings = make_settings(Capture())
    for name, count, seed in (("a", 12, 0), ("b", 40, 1)):
        write_dump(folder / name, count=count, seed=seed, settings=settings)
    return open_dumps([folder / "*"])


MIXED = dataclasses.replace(
    SETTINGS,
    only=RowFilter(min_tokens=5),
    mixture=Mixture(temperature=2.0),
    phases=(
        Phase(until=3, max_tokens=20),
        Phase(until=9, dump_weights=(3.0, 1.0)),
        Phase(),
    ),
)
CAPPED = dataclasses.replace(SETTINGS, mixture=Mixture(dump_weights=(3.0, 1.0), max_passes=4))


@pytest.mark.parametrize("settings", [MIXED, CAPPED], ids=["mixed", "capped"])
def test_mixtures_and_phases_resume_at_every_cut_with_other_ranks(pair, settings) -> None:
    whole = list(islice(iter(open_stream(pair, settings)), 24))
    epochs = [batch.epoch for batch in whole]
    assert max(epochs) >= 2
    for cut in range(1, len(whole)):
        first = open_stream(pair, settings)
        batches = iter(first)
        list(islice(batches, cut))
        batches.close()
        state = json.loads(json.dumps(first.state_dict()))
        assert state["at"]["total"] == cut
        found = []
        for rank in range(2):
            resumed = open_stream(pair, settings, Place(rank=rank, world_size=2))
            resumed.load_state_dict(state)
            follow = iter(resumed)
            found += ids([next(follow)])
            follow.close()
            sought = open_stream(pair, settings)
            sought.seek(cut)
            assert sought.state_dict() == state
        assert found == ids([whole[cut]])


def test_phases_and_filters_read_what_they_say(pair) -> None:
    batches = list(islice(iter(open_stream(pair, MIXED)), 24))
    lengths = [[document.length for document in batch.documents] for batch in batches]
    assert max(max(step) for step in lengths[:3]) <= 20 < max(max(step) for step in lengths[3:])
    assert min(min(step) for step in lengths) >= 5
    dumps = [[name.split("-")[0] for name in ids([batch])] for batch in batches]
    early = [name for step in dumps[3:9] for name in step]
    later = [name for step in dumps[9:] for name in step]
    assert early.count("s0") / len(early) > 0.6 > later.count("s0") / len(later)


def test_a_cap_ends_the_data_and_says_after_how_many_steps(pair) -> None:
    stream = open_stream(pair, CAPPED)
    batches, seen = iter(stream), []
    with pytest.raises(ConfigError, match=r"after \d+ steps .* --max-passes"):
        seen.extend(batches)
    found = Counter(ids(seen))
    assert set(found.values()) == {4} and len(found) == 52
    stream.check_length(len(seen))
    with pytest.raises(ConfigError, match=f"after {len(seen)} steps"):
        stream.check_length(len(seen) + 1)


def test_a_state_of_another_mixture_is_refused(pair) -> None:
    state = open_stream(pair, MIXED).state_dict()
    with pytest.raises(MismatchError, match=r"(?s)mixture: .*'temperature': 2.0.*curriculum"):
        open_stream(pair, CAPPED).load_state_dict(state)


def test_weights_for_another_number_of_dumps_are_refused(pair) -> None:
    with pytest.raises(ConfigError, match="3 numbers for 2 dumps"):
        open_stream(
            pair,
            dataclasses.replace(
                SETTINGS, phases=(Phase(until=2, dump_weights=(1.0, 1.0, 1.0)), Phase())
            ),
        )
