"""Rationale and answer as two sequences: every token, position, state and weight at its place."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, InputError
from stage1_teacher.samples import Segment
from stage2_student.evaluate import evaluate
from stage2_student.evaluate_settings import EvaluateSettings
from stage2_student.row_filter import RowFilter
from stage2_student.run import train
from stage2_student.settings import TrainSettings
from stage2_student.stream import StreamSettings, open_stream
from stage2_student.tasks import Tasks, sequences, tasks_of
from tests import dumps
from tests.dumps import hidden_policy
from tests.stage2_student.batch_twin import Expected, found_position
from tests.stage2_student.trainings import make_dump, make_training

BOTH = Tasks(weights={"rationale": 0.5, "answer": 1.0}, prefixes={"answer": (7, 8, 9)})
PLAIN = {"dump": ["d"], "out": "o", "student": "s"}
FORMS = {
    "usual": "template system prompt template rationale response answer response",
    "answer first": "prompt template answer response rationale response",
    "short": "prompt rationale answer",
    "no rationale": "prompt template answer response",
    "text": "text",
    "examples": "prompt template response template prompt template rationale answer template",
    "two turns": "prompt rationale answer template prompt response rationale response answer",
    "apart": "prompt rationale template prompt template answer",
}
EVERY_FORM = tuple(FORMS.values())


def tiled(form: str, lengths) -> tuple[Segment, ...]:
    found, start = [], 0
    for kind, length in zip(form.split(), lengths, strict=True):
        found.append(Segment(kind=kind, start=start, end=start + length))
        start += length
    return tuple(found)


@pytest.fixture
def dump(tmp_path, monkeypatch):
    """Rows of every form, with hidden states; half of them captured from the response on."""
    return write(tmp_path, monkeypatch)


def write(tmp_path: Path, monkeypatch, forms=EVERY_FORM, count=24):
    make = dumps.make_samples

    def samples(*words):
        rng = np.random.default_rng(3)
        found = []
        for number, sample in enumerate(make(*words)):
            form = forms[number % len(forms)]
            segments = tiled(form, rng.integers(2, 6, len(form.split())).tolist())
            length = segments[-1].end
            first = next((s.start for s in segments if s.kind in ("rationale", "answer")), 1)
            captured = ((first - 1 if number % 2 else 0, length - 1),)
            found.append(
                type(sample)(
                    id=sample.id,
                    source=sample.source,
                    input_ids=rng.integers(10, 300, length).astype(np.int32),
                    segments=segments,
                    captured=captured,
                )
            )
        return found

    monkeypatch.setattr(dumps, "make_samples", samples)
    capture = hidden_policy("bf16", layers=("2",), width=8)
    return make_dump(tmp_path / "dump", capture=capture, count=count)


def twin(sample, tasks: Tasks):
    """By hand: (task, tokens, [(place, position in the row)]) of each sequence of a sample."""
    ids, spans, segments = sample.input_ids.tolist(), {}, list(sample.segments)
    while segments[-1].kind == "template":
        segments.pop()
    while segments and segments[-1].kind in ("rationale", "answer", "response"):
        segment = segments.pop()
        prompt = segment.start
        spans.setdefault(segment.kind, (segment.start, segment.end))
    if not {"rationale", "answer"} <= set(spans):
        return [("whole", ids, [(p, p) for p in sample.positions.tolist()])]
    before = next(s.start for s in reversed(segments) if s.kind == "prompt")
    rationale, answer = spans["rationale"], spans["answer"]
    end = rationale[0] if rationale[0] > answer[0] else len(ids)
    found = []
    for task, (start, stop) in (("rationale", rationale), ("answer", (answer[0], end))):
        if not tasks.weights.get(task):
            continue
        head = ids[:before] + list(tasks.prefixes.get(task, ())) + ids[before:prompt]
        places = [
            (len(head) + p + 1 - start - 1, p)
            for p in sample.positions.tolist()
            if start <= p + 1 < stop
        ]
        found.append((task, head + ids[start:stop], places))
    return found


def batches(dump, tasks=BOTH, **given):
    settings = {"rows_per_step": 4, "hidden": ("2",), "tasks": tasks, **given}
    return list(open_stream([open_dump(dump.path)], StreamSettings(**settings)).epoch_batches())


TASKS = {
    "both": BOTH,
    "answer": Tasks(weights={"answer": 1.0}),
    "rationale": Tasks(weights={"rationale": 2.0}, prefixes={"rationale": (5,)}),
}


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("tasks", TASKS)
def test_every_sequence_once_and_right(dump, tasks, packing):
    signals, left = Expected(dump), []
    for sample in dump.samples.values():
        left += [(sample.id, *sequence) for sequence in twin(sample, TASKS[tasks])]
    assert {task for _, task, *_ in left} == {"whole", *TASKS[tasks].weights}
    for batch in batches(dump, TASKS[tasks], packing=packing):
        targets, length = batch.targets, batch.input_ids.shape[1]
        for document in batch.documents:
            place = slice(document.start, document.start + document.length)
            tokens = batch.input_ids[document.row, place].tolist()
            (found,) = [s for s in left if (s[0], s[2]) == (document.id, tokens)]
            left.remove(found)
            _, task, _, places = found
            weight = TASKS[tasks].weights.get(task, 1.0)
            first, last = document.targets
            assert last - first == len(places)
            for target, (where, position) in zip(range(first, last), places, strict=True):
                row = document.row * length + document.start + where
                assert int(targets.rows_N[target]) == row
                expected = signals.position(document.id, position)
                assert found_position(batch, target) | {2.0: 0} == expected | {2.0: 0}
                assert batch.input_ids.flatten()[row + 1] == expected["label"]
                state = dump.hidden[document.id]["2"][position]
                assert batch.states["2"][target].tolist() == state.tolist()
                assert float(targets.weights_N[target]) == pytest.approx(weight / len(places))
    assert left == []


def test_weights_of_tokens_share_what_the_sequence_weighs(dump):
    from stage2_student.token_weights import TokenWeights

    weights = TokenWeights(kinds={"response": 3.0})
    sums = []
    for batch in batches(dump, weights=weights):
        for document in batch.documents:
            own = batch.targets.weights_N[slice(*document.targets)]
            sums.append(round(float(own.sum()), 6))
            if len(own) > 1 and len(set(own.tolist())) > 1:
                assert float(own.max() / own.min()) == pytest.approx(3)
    assert set(sums) == {0.5, 1.0}


def test_the_longest_is_that_of_the_sequences(dump):
    stream = open_stream([open_dump(dump.path)], StreamSettings(rows_per_step=2, tasks=BOTH))
    lengths = [len(s[1]) for sample in dump.samples.values() for s in twin(sample, BOTH)]
    assert stream.max_length == max(lengths)
    assert sorted(stream.index.length_R.tolist()) == sorted(lengths)
    assert stream.index.split == sum(len(twin(s, BOTH)) == 2 for s in dump.samples.values()) * 2


def test_filters_and_the_split_are_about_rows(dump):
    opened = [open_dump(dump.path)]
    only = RowFilter(with_segments=("rationale", "answer"))
    settings = StreamSettings(rows_per_step=2, tasks=BOTH, only=only, held_out=0.4)
    index = open_stream(opened, settings).index
    assert index.split % 2 == 0 < index.split
    rows = index.split // 2 + len(index) - index.split
    assert rows + sum(index.left_out.values()) == len(dump.samples)


def test_training_on_some_kinds_only_goes_with_it(dump):
    for batch in batches(dump, train_on=("answer",)):
        for document in batch.documents:
            sample = dump.samples[document.id]
            answers = [s for s in sample.segments if s.kind == "answer"]
            first, last = document.targets
            labels = batch.targets.labels_N[first:last].tolist()
            own = [sample.input_ids[s.start : s.end].tolist() for s in answers[-1:]]
            assert labels == [] or labels == own[0][-len(labels) :]


def test_no_rows_to_split_are_an_error(tmp_path, monkeypatch):
    dump = write(tmp_path, monkeypatch, ("text", "prompt answer"))
    with pytest.raises(InputError, match=r"none of the 24 rows has both a rationale and an answer"):
        batches(dump)


def test_a_state_is_continued_with_the_same_tasks_only(dump):
    from schemas.errors import MismatchError

    def stream(tasks):
        return open_stream([open_dump(dump.path)], StreamSettings(rows_per_step=2, tasks=tasks))

    state = json.loads(json.dumps(stream(BOTH).state_dict()))
    stream(BOTH).load_state_dict(state)
    with pytest.raises(MismatchError, match="tasks"):
        stream(TASKS["rationale"]).load_state_dict(state)


def test_an_empty_row_group_has_no_sequences():
    kind = pa.list_(pa.struct([("kind", pa.string()), ("start", pa.int32()), ("end", pa.int32())]))
    table = pa.table({"segments": pa.array([], kind)})
    assert len(sequences(table, BOTH).row_Q) == 0


def test_the_settings_are_those_of_two_tasks():
    settings = TrainSettings(
        **PLAIN, tasks=["rationale=0.5", "answer=1"], task_prefixes=["answer=Answer: "]
    )

    def tokenizer(text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [ord(letter) for letter in text]}

    found = tasks_of(settings, tokenizer)
    assert found.weights == {"rationale": 0.5, "answer": 1.0}
    assert found.prefixes == {"answer": tuple(map(ord, "Answer: "))}
    assert not tasks_of(TrainSettings(**PLAIN), tokenizer)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tasks": ["thoughts=1"]}, "tasks: 'thoughts' is none of rationale and answer"),
        ({"tasks": ["answer=-1"]}, r"tasks: 'answer=-1' is no kind=weight.* --tasks answer=2"),
        ({"tasks": ["answer=0"]}, "tasks: all weights are 0"),
        ({"tasks": ["answer=1", "answer=2"]}, "names a kind again"),
        ({"task_prefixes": ["answer=A"]}, "one for answer, which is no task here"),
        ({"tasks": ["answer=1"], "task_prefixes": ["Answer: "]}, "'Answer: ' is no prefix"),
        ({"tasks": ["answer=1"], "task_prefixes": ["answer=A", "answer=B"]}, "its second one"),
    ],
)
def test_what_is_wrong_with_them_is_said(given, message):
    with pytest.raises(ConfigError, match=message):
        TrainSettings(**PLAIN, **given)


def test_a_student_is_trained_on_both_tasks_and_hidden_states(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    settings = make_training(
        tmp_path,
        loss="fkl + 0.1*hidden_cosine(layers=last:2)",
        tasks=["rationale=0.5", "answer=1"],
        task_prefixes=["answer=Answer: "],
        steps=6,
    )
    train(settings)
    lines = [
        json.loads(line)
        for line in (tmp_path / "out/train_log.jsonl").read_text().split("\n")
        if line
    ]
    assert lines[-1]["fkl"] < lines[0]["fkl"]


def test_a_student_of_two_tasks_is_measured_on_both(tmp_path, monkeypatch):
    dump = write(tmp_path, monkeypatch)
    words = {"tasks": ["rationale=0.5", "answer=1"], "task_prefixes": ["answer=Answer: "]}
    settings = make_training(tmp_path, holdout=0.3, steps=1, **words)
    train(settings)

    def measured(**given):
        words = {"student": settings.out, "dump": settings.dump, **given}
        return evaluate(EvaluateSettings(**words))

    def positions(tasks):
        found = batches(dump, tasks, hidden=(), part="held_out", held_out=0.3)
        return sum(len(batch.targets.labels_N) for batch in found)

    found, answers = measured(), measured(tasks=["answer=1"])
    assert (found.only, answers.only) == (["--tasks rationale,answer"], ["--tasks answer"])
    assert found.overall.positions == positions(BOTH)
    assert answers.overall.positions == positions(TASKS["answer"])
    assert len({positions(BOTH), positions(TASKS["answer"]), positions(Tasks())}) == 3
    with_prefix = measured(tasks=["answer=1"], task_prefixes=["answer=Answer: "])
    assert with_prefix.overall.kl != answers.overall.kl
