"""The tier for pull requests: every campaign, no violation; and the page says what was found."""

import json
from pathlib import Path

import pytest

from benchmarks.reliability import BEGIN, END, table
from tests.reliability.campaign import TIERS
from tests.reliability.campaigns import CAMPAIGNS
from tests.reliability.io_errors import unlisted
from tests.reliability.seeded_defects import DEFECTS

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reliability.md"
RESULT = ROOT / "benchmarks" / "results" / "reliability.json"


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", CAMPAIGNS)
def test_campaign(name: str) -> None:
    campaign = CAMPAIGNS[name]
    outcome = campaign.run("pr")
    assert not outcome.violations, outcome.shown()
    assert outcome.scenarios >= campaign.least["pr"], outcome.counts


def test_every_campaign_has_every_tier() -> None:
    for campaign in CAMPAIGNS.values():
        assert set(campaign.least) == set(TIERS)


def test_every_call_of_the_store_has_its_errors() -> None:
    assert unlisted() == set()


def test_there_are_enough_defects_and_no_two_are_the_same() -> None:
    assert len({defect.says for defect in DEFECTS}) == len(DEFECTS) >= 25


def test_the_page_has_the_committed_figures() -> None:
    text = PAGE.read_text()
    shown = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()
    assert shown == table(json.loads(RESULT.read_text())).strip()
