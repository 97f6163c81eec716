"""The scripts that operators run, with stand-ins for Slurm."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SLURM = str(ROOT / "scripts" / "slurm-dump")
DUMP = ("--teacher", "org/model", "--corpus", "my texts.jsonl", "--out", "/shared/dump")


@pytest.mark.parametrize("name", ["environment", "quickstart", "test", "nightly", "slurm-dump"])
def test_scripts_are_sound_bash(name: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / name)], check=True)


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """An environment in which potstill, and nothing of Slurm, is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder, "potstill", '[ "${!#}" = --show-config ] && exit 0; printf "<%s>" "$@"')
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def run(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*words], env=env, capture_output=True, text=True, check=False)


def test_the_job_is_printed_and_runs_the_units_of_one_dump(tools, tmp_path) -> None:
    options = ("--workers", "8", "--gpus", "1", "--time", "8:00:00", "--sbatch", "--nice=5")
    ran = run(SLURM, *options, "--print", "--", *DUMP, env=tools)
    assert ran.returncode == 0, ran.stderr
    for line in ("--array=1-8", "--time=8:00:00", "--gpus-per-task=1", "--nice=5", "--requeue"):
        assert f"#SBATCH {line}\n" in ran.stdout
    job = tmp_path / "job"
    job.write_text(ran.stdout)
    task = {**tools, "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}
    words = ["dump", *DUMP, "--worker", "3/8", "--grace", "60"]
    assert run("bash", str(job), env=task).stdout == "".join(f"<{word}>" for word in words)


def test_without_slurm_it_says_so(tools) -> None:
    ran = run(SLURM, "--", *DUMP, env=tools)
    assert ran.returncode == 2
    assert "no sbatch here" in ran.stderr and "--print" in ran.stderr


def test_with_slurm_the_job_is_submitted(tools, tmp_path) -> None:
    program(tmp_path / "bin", "sbatch", f"cat > {tmp_path}/submitted")
    assert run(SLURM, "--workers", "2", "--", *DUMP, env=tools).returncode == 0
    assert "#SBATCH --array=1-2\n" in (tmp_path / "submitted").read_text()


@pytest.mark.parametrize(
    "words",
    [(), ("--",), ("--worker", "2", "--", *DUMP), ("--workers", "0", "--", *DUMP), ("--gpus",)],
)
def test_wrong_words_are_refused(tools, words) -> None:
    assert run(SLURM, *words, env=tools).returncode == 2


def test_options_that_dump_refuses_are_refused_before_anything_is_queued(tools, tmp_path) -> None:
    program(tmp_path / "bin", "potstill", "exit 2")
    program(tmp_path / "bin", "sbatch", f"touch {tmp_path}/submitted")
    assert run(SLURM, "--", "--teechar", "x", env=tools).returncode == 2
    assert not (tmp_path / "submitted").exists()


@pytest.mark.parametrize(
    ("number", "code", "requeued"),
    [(signal.SIGUSR1, 130, True), (signal.SIGUSR1, 0, False), (signal.SIGTERM, 130, False)],
)
def test_a_task_is_queued_again_at_its_time_limit_only(tools, tmp_path, number, code, requeued):
    job = tmp_path / "job"
    job.write_text(run(SLURM, "--print", "--", *DUMP, env=tools).stdout)
    work = f"touch {tmp_path}/up; for i in {{1..99}}; do sleep 0.1; done"
    program(tmp_path / "bin", "potstill", f"trap 'sleep 0.3; exit {code}' TERM; {work}")
    program(tmp_path / "bin", "scontrol", f'echo "$@" > {tmp_path}/requeued')
    task = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_JOB_ID": "77"}
    with subprocess.Popen(["bash", str(job)], env={**tools, **task}) as process:
        while not (tmp_path / "up").exists():
            time.sleep(0.01)
        os.kill(process.pid, number)
    assert process.returncode == (0 if requeued else code)
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 77_3\n"


def test_nightly_passes_its_words_and_its_exit_code_on(tmp_path) -> None:
    scripts = tmp_path / "project" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "nightly").write_text((ROOT / "scripts" / "nightly").read_text())
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "potstill", 'printf "<%s>" "$@"; exit 4')
    path = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    ran = run("bash", str(scripts / "nightly"), "n.yaml", "--limit", "5", env=path)
    assert (ran.returncode, ran.stdout) == (4, "<nightly><n.yaml><--limit><5>")
    nowhere = run("bash", str(scripts / "nightly"), env={"PATH": "/usr/bin:/bin"})
    assert nowhere.returncode == 2 and "pip install potstill" in nowhere.stderr
