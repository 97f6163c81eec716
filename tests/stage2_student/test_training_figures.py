import json

import pytest
import torch

from stage2_student.training_figures import (
    LOG,
    Figures,
    LiveReport,
    append_line,
    cut_lines,
    read_lines,
)


def itself(sums):
    return sums


def added(figures, total, terms, weights, tokens):
    figures.add(torch.tensor(total), torch.tensor(terms), weights, tokens, 20)


def test_a_line_has_means_over_weights_since_the_last_one():
    figures = Figures(terms=["fkl", "ce"])
    added(figures, 6.0, [4.0, 2.0], 2.0, 10)
    added(figures, 3.0, [1.0, 4.0], 1.0, 5)
    line = figures.line(itself)
    assert (line["loss"], line["fkl"], line["ce"]) == pytest.approx((3, 5 / 3, 2))
    assert line["fill"] == 15 / 40
    added(figures, 8.0, [8.0, 8.0], 4.0, 7)
    assert (figures.line(itself)["loss"], figures.tokens) == (2.0, 22)


def test_ranks_are_summed():
    figures = Figures(terms=["fkl"])
    added(figures, 6.0, [6.0], 2.0, 10)
    line = figures.line(lambda sums: sums + torch.tensor([2.0, 2.0, 4.0, 20.0, 2.0]))
    assert (line["loss"], line["fkl"], line["tokens"]) == (2.0, 2.0, 14)
    assert line["fill"] == 14 / 40


def test_a_state_in_the_middle_of_a_line_goes_on():
    whole = Figures(terms=["fkl"])
    added(whole, 0.1, [0.1], 3.0, 1)
    state = json.loads(json.dumps(whole.state(itself)))
    added(whole, 0.7, [0.7], 3.0, 1)
    for first_rank, expected in ((True, whole.line(itself)["loss"]), (False, 0.7 / 3)):
        again = Figures(terms=["fkl"])
        again.load(state, first_rank)
        added(again, 0.7, [0.7], 3.0, 1)
        assert again.line(itself)["loss"] == pytest.approx(expected, rel=1e-7)


def test_waiting_is_a_share_of_the_time(monkeypatch):
    clock = iter([100.0, 110.0, 110.0])
    monkeypatch.setattr("stage2_student.training_figures.time.monotonic", lambda: next(clock))
    figures = Figures(terms=[])
    figures.start()
    figures.waited(2.5)
    line = figures.line(itself)
    assert (line["wait_share"], line["seconds"]) == (0.25, 10.0)


def test_progress_is_told_now_and_then_and_at_the_end():
    seen = []
    live = LiveReport(seen.append, 100)
    for step in range(1, 101):
        live.tell(step, Figures(terms=[]))
    assert [p.done for p in seen] == [1, 100]
    assert seen[-1].total == 100


def test_lines_after_a_step_are_cut_and_a_torn_one_is_left_out(tmp_path):
    for step in (1, 2, 3):
        append_line(tmp_path, {"step": step, "loss": 0.5})
    with (tmp_path / LOG).open("a") as log:
        log.write('{"step": 4, "lo')
    assert [line["step"] for line in read_lines(tmp_path)] == [1, 2, 3]
    cut_lines(tmp_path, 2)
    assert [line["step"] for line in read_lines(tmp_path)] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == [LOG]
