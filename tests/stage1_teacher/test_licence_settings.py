import pytest

from schemas.errors import ConfigError
from stage1_teacher.corpus import open_corpus
from stage1_teacher.corpus_card import corpus_license, license_in
from stage1_teacher.corpus_rows import Columns
from stage1_teacher.licence_settings import LicenceSettings
from tests.tiny import write_rows


def test_what_is_stated_comes_before_the_cards():
    given = LicenceSettings(teacher_license="mit", corpus_license="cc0-1.0", output_terms="ask")
    found = given.licenses("llama3.1", "odc-by")
    assert (found.teacher, found.output_terms, found.corpus) == ("mit", "ask", "cc0-1.0")
    cards = LicenceSettings().licenses("llama3.1", "odc-by")
    assert (cards.teacher, cards.output_terms, cards.corpus) == ("llama3.1", None, "odc-by")


@pytest.mark.parametrize(
    ("teacher", "corpus", "words"),
    [
        (None, "mit", ["the teacher's licence", "--teacher-license"]),
        ("mit", None, ["the corpus's licence", "--corpus-license"]),
        ("my-own-1", "mit", ["what my-own-1 says", "--output-terms"]),
        (None, None, ["--teacher-license", "--corpus-license", "--license unknown"]),
    ],
)
def test_what_is_not_known_is_refused_unless_it_may_be_so(teacher, corpus, words):
    with pytest.raises(ConfigError) as error:
        LicenceSettings().licenses(teacher, corpus)
    assert all(word in str(error.value) for word in words)
    found = LicenceSettings(license="unknown").licenses(teacher, corpus)
    assert (found.teacher, found.corpus) == (teacher or "unknown", corpus or "unknown")


def test_only_unknown_may_be_left_open():
    with pytest.raises(ValueError, match="unknown"):
        LicenceSettings(license="mit")


@pytest.mark.parametrize(
    ("front", "license"),
    [
        ("license: odc-by", "odc-by"),
        ("license: other\nlicense_name: own-1", "own-1"),
        ("license: [mit, cc-by-4.0]", "mit and cc-by-4.0"),
        ("tags: [x]", None),
    ],
)
def test_a_dataset_card_states_it(front, license):
    assert license_in(f"---\n{front}\n---\n# Card\n") == license


def test_a_folder_has_a_card_and_a_file_has_none(tmp_path):
    corpus = write_rows(tmp_path / "rows.jsonl", [{"text": "x"}])
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    for place, expected in ((tmp_path, "mit"), (corpus, None)):
        assert corpus_license(str(place), open_corpus(str(place), Columns())) == expected
