import re
from pathlib import Path

import pytest
import yaml

import schemas
from schemas.manifest import Capture
from stage1_teacher.card import (
    dataset_card,
    decode_snippet,
    figures,
    hidden_sentence,
    hidden_snippet,
    policy_sentence,
)
from stage1_teacher.hidden_policy import with_widths
from tests.dumps import hidden_policy, make_settings, write_dump


def card(tmp_path, **changes):
    dump = write_dump(tmp_path / "d", capture=hidden_policy("bf16", ["2"], 6, top_k=64))
    settings = make_settings(dump.manifest.capture, rows=24)
    settings = settings.model_copy(
        update={
            name: getattr(settings, name).model_copy(update=fields)
            for name, fields in changes.items()
        }
    )
    text = dataset_card(settings, dump.manifest.shards, "potstill 0.1.0")
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body, dump


def test_the_front_matter_says_where_the_rows_are(tmp_path):
    front, _, _ = card(tmp_path)
    assert front["configs"] == [
        {"config_name": "default", "data_files": "data/*.parquet", "default": True},
        {"config_name": "preview", "data_files": "preview/*.parquet"},
        {"config_name": "hidden", "data_files": "hidden/*.parquet"},
    ]
    assert {"knowledge-distillation", "logits", "teacher:synthetic"} <= set(front["tags"])
    assert front["license"] == "apache-2.0"
    assert front["size_categories"] == ["n<1K"]


def test_two_licences_are_not_made_one(tmp_path):
    front, body, _ = card(
        tmp_path,
        teacher={"license": "llama3", "output_terms": "name the teacher"},
        corpus={"license": "cc-by-4.0"},
    )
    assert front["license"] == "other"
    assert "| teacher | llama3 |" in body
    assert "| corpus | cc-by-4.0 |" in body
    assert "outputs: name the teacher" in body


def test_what_nobody_said_is_in_bold(tmp_path):
    front, body, _ = card(tmp_path, corpus={"license": "unknown"})
    assert front["license"] == "unknown"
    assert "| corpus | **unknown** |" in body and "| teacher | apache-2.0 |" in body
    assert "**Nobody said" in body


def test_what_the_licences_ask_for_together(tmp_path):
    _, body, _ = card(tmp_path, teacher={"license": "llama3"}, corpus={"license": "cc-by-sa-4.0"})
    assert "- share-alike (corpus synthetic): " in body
    assert "- teacher synthetic: its outputs may not be used to improve" in body
    assert "- **mind**: llama3 of teacher synthetic" in body
    assert "\n\n\n" not in body.partition("## Licence")[2]


def test_the_body_has_the_figures_of_the_ledger(tmp_path):
    _, body, dump = card(tmp_path)
    found = figures(dump.manifest.shards)
    assert found.rows == 24
    assert f"| tokens | {found.tokens:,}, {found.positions:,} of them with signals |" in body
    sizes = f"{found.bytes_per_token:.1f}, and {found.hidden_bytes_per_token:.1f} of hidden states"
    assert f"| bytes per token | {sizes} |" in body
    assert "| hidden states | layers 2; 6 wide, bf16; in `hidden/` |" in body
    assert "every entry with p ≥ 1/512, at most 64" in body
    assert "{{" not in body and "{%" not in body


def test_the_snippet_is_the_one_of_the_format_page_and_runs(tmp_path):
    _, body, _ = card(tmp_path)
    page = (Path(schemas.__file__).parent / "FORMAT.md").read_text()
    assert decode_snippet() in page
    assert decode_snippet() in body
    assert hidden_snippet() in body
    names = {}
    exec(decode_snippet() + "\n" + hidden_snippet(), names)
    assert {"decode", "decode_hidden"} <= set(names)


def test_a_dump_without_hidden_states_does_not_speak_of_them(tmp_path):
    dump = write_dump(tmp_path / "d")
    settings = make_settings(dump.manifest.capture, rows=24)
    text = dataset_card(settings, dump.manifest.shards, "potstill 0.1.0")
    assert "hidden" not in text


def test_hidden_states_in_words():
    policy = hidden_policy("int8", ["0", "last"], 576)
    assert hidden_sentence(policy) == "layers 0, last; 576 wide, int8"
    narrow = with_widths(policy, 576, 64)
    assert hidden_sentence(narrow) == "layers 0, last; projected from width 576 to 64, int8"
    assert hidden_sentence(Capture()) == ""


def test_tables_are_not_broken_by_blank_lines(tmp_path):
    _, body, _ = card(tmp_path)
    assert not re.search(r"\|\n\n\|(?! figures| licence)", body)


@pytest.mark.parametrize(
    ("capture", "words"),
    [
        (Capture(min_prob=None, top_k=7), "the 7 most probable entries"),
        (Capture(min_prob=1 / 1024), "every entry with p ≥ 1/1024, at most 64"),
        (Capture(min_prob=0.003, top_k=9), "every entry with p ≥ 0.003, at most 9"),
    ],
)
def test_policies_in_words(capture, words):
    assert policy_sentence(capture) == words
