import pytest

from schemas.licences import (
    DEMANDS,
    KNOWN,
    Stated,
    forbidden,
    joint_conditions,
    known,
    stated_in,
)
from schemas.manifest import Capture
from tests.dumps import make_settings


def corpus(license: str, name: str = "c") -> Stated:
    return Stated(role="corpus", name=name, license=license)


def teacher(license: str, terms: str | None = None) -> Stated:
    return Stated(role="teacher", name="t", license=license, terms=terms)


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (("apache-2.0", "apache-2.0"), "apache-2.0"),
        (("apache-2.0", "Apache-2.0"), "Apache-2.0"),
        (("apache-2.0", "mit"), "other"),
        (("apache-2.0", "unknown"), "unknown"),
        ((), "unknown"),
    ],
)
def test_one_licence_only_where_all_agree(licenses, expected):
    assert joint_conditions(corpus(name) for name in licenses).license == expected


def test_every_demand_names_who_makes_it():
    found = joint_conditions([teacher("llama3.1"), corpus("cc-by-nc-sa-4.0"), corpus("mit", "m")])
    lines = {line.split(" (")[0]: line for line in found.demands}
    assert set(lines) == {"noncommercial", "share-alike", "attribution", "naming"}
    assert "(corpus c)" in lines["noncommercial"]
    assert "teacher t, corpus c, corpus m" in lines["attribution"]
    assert found.terms == (f"teacher t: {known('llama3.1').terms}",)


def test_stated_terms_come_before_what_the_licence_is_known_to_say():
    assert joint_conditions([teacher("gemma", "ask first")]).terms == ("teacher t: ask first",)
    assert joint_conditions([teacher("apache-2.0")]).terms == ()
    assert joint_conditions([corpus("llama3.1")]).terms == (), "terms are of outputs"


def test_a_licence_that_nobody_knows_is_not_passed_over():
    found = joint_conditions([teacher("my-own-1"), corpus("unknown")])
    assert "read it yourself: my-own-1 of teacher t" in found.demands
    assert any(line.startswith("unknown (corpus c)") for line in found.demands)


def test_conflicts_are_said():
    two = joint_conditions([corpus("cc-by-sa-4.0"), corpus("gpl-3.0", "g")])
    assert two.conflicts == ("cc-by-sa-4.0 and gpl-3.0 each want to be the licence",)
    narrow = joint_conditions([corpus("cc-by-sa-4.0"), corpus("cc-by-nc-4.0", "n")])
    assert "cc-by-nc-4.0 of corpus n does not" in narrow.conflicts[0]
    assert "may not improve" in joint_conditions([teacher("llama3")]).conflicts[0]
    fine = joint_conditions([teacher("apache-2.0"), corpus("cc-by-4.0")])
    assert fine.conflicts == ()
    assert joint_conditions([corpus("cc-by-nc-sa-4.0")]).conflicts == ()


@pytest.mark.parametrize(
    ("pattern", "license", "hit"),
    [
        ("unknown", "unknown", True),
        ("unknown", "mit", False),
        ("cc-by-nc*", "CC-BY-NC-4.0", True),
        ("noncommercial", "cc-by-nc-sa-4.0", True),
        ("noncommercial", "mit", False),
        ("no-training", "llama3", True),
        ("no-training", "llama3.1", False),
        ("llama3", "llama3.1", False),
    ],
)
def test_what_is_forbidden(pattern, license, hit):
    assert bool(forbidden([teacher(license)], ["gpl*", pattern])) is hit


def test_a_dump_states_its_teacher_and_its_corpus():
    parts = stated_in(make_settings(Capture()))
    assert [(p.role, p.license) for p in parts] == [
        ("teacher", "apache-2.0"),
        ("corpus", "apache-2.0"),
    ]
    assert joint_conditions([*parts, *parts]).stated == tuple(parts), "each once"


def test_the_table_speaks_of_known_demands_only():
    assert {word for _, found in KNOWN for word in found.demands} <= set(DEMANDS)
    assert known("cc-by-nc-nd-4.0").demands == ("attribution", "noncommercial", "no-derivatives")
    assert known("no-such-licence") is None
