import pytest

from stage2_student import checkpoints
from stage2_student.checkpoints import Checkpoints, read_state, write_state


def save(kept, step):
    folder = kept.begin(step)
    folder.mkdir(parents=True)
    write_state(folder, {"step": step})
    kept.commit(step)


def go_on(kept, lowest=0):
    """What happens after the step after a commit."""
    kept.tidy(lowest)


def names(path):
    return sorted(p.name for p in (path / "checkpoints").iterdir())


def test_the_newest_ones_are_kept(tmp_path):
    kept = Checkpoints(tmp_path, 2)
    assert kept.newest() is None
    for step in (8, 9, 10, 11):
        save(kept, step)
        go_on(kept)
    assert names(tmp_path) == ["step-10", "step-11"]
    assert read_state(kept.newest()) == {"step": 11}


def test_older_ones_stay_until_the_step_after_the_newest_was_fine(tmp_path):
    kept = Checkpoints(tmp_path, 1)
    save(kept, 1)
    go_on(kept)
    save(kept, 2)
    assert names(tmp_path) == ["step-1", "step-2"]
    Checkpoints(tmp_path, 1).tidy(0)  # also when another process goes on
    assert names(tmp_path) == ["step-2"]


def test_the_one_with_the_lowest_loss_is_kept_besides(tmp_path):
    kept = Checkpoints(tmp_path, 1)
    for step, lowest in ((1, 1), (2, 1), (3, 3), (4, 3)):
        save(kept, step)
        go_on(kept, lowest)
    assert names(tmp_path) == ["step-3", "step-4"]


def test_what_was_not_committed_is_no_checkpoint_and_is_cleared(tmp_path):
    kept = Checkpoints(tmp_path, 2)
    save(kept, 1)
    kept.begin(2).mkdir()
    assert kept.newest().name == "step-1"
    kept.clear()
    assert names(tmp_path) == ["step-1"]


def test_a_kill_while_an_old_one_is_dropped_leaves_no_half_of_it(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, 1)
    save(kept, 1)

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    save(kept, 2)
    with pytest.raises(KeyboardInterrupt):
        go_on(kept)
    assert kept.newest().name == "step-2"
    assert names(tmp_path) == [".step-1.gone", "step-2"]


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path):
    kept = Checkpoints(tmp_path, 2)
    save(kept, 1)
    save(kept, 1)
    assert names(tmp_path) == ["step-1"]


def test_everything_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, 1)
    order = []
    sync, rename = checkpoints.sync_tree, checkpoints.os.rename
    monkeypatch.setattr(checkpoints, "sync_tree", lambda p: order.append("sync") or sync(p))
    monkeypatch.setattr(
        checkpoints.os, "rename", lambda a, b: order.append("rename") or rename(a, b)
    )
    save(kept, 1)
    assert order == ["sync", "rename"]
