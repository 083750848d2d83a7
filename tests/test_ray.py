"""Jobs on a Ray cluster of this machine: the rows of local jobs, and workers that are killed. Run with ``make ray``."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from populations import config, members, without_times

from agents import jobs as running
from agents.jobs import Job, JobError, run_jobs
from benchmarks.harness.experiment import Size, carry_out
from benchmarks.tasks.digits import Digits

ray = pytest.importorskip("ray")

ROOT = Path(__file__).parent.parent
pytestmark = [
    # of Ray itself: sockets that it leaves open, and what it will do differently one day
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


def jobs(folder, passes, count=3, **changes):
    four = members()
    return [
        Job(folder / f"part{k}", tuple(four[k : k + 2]), config(passes=passes, **changes), checkpoint_seconds=0.05)
        for k in range(count)
    ]


def flat(found):
    return without_times([row for rows in found for row in rows])


@pytest.fixture(scope="module")
def _cluster():
    """A cluster of two workers on this machine, which find the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.mark.usefixtures("_cluster")
def test_jobs_have_the_rows_that_they_have_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run_jobs(jobs(Path("there"), 8), processes=2, engine="ray", quiet=True)
    assert flat(found) == flat([job.run() for job in jobs(tmp_path / "here", 8)])
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["part0", "part1", "part2"]
    monkeypatch.setattr(running, "_on_ray", None)
    assert flat(run_jobs(jobs(Path("there"), 8), engine="ray", quiet=True)) == flat(found), "nothing is done twice"


@pytest.mark.usefixtures("_cluster")
def test_a_job_whose_worker_is_killed_goes_on(tmp_path, monkeypatch):
    killed, look = [], running._Watch.look

    def kill(watch):
        look(watch)
        checkpoint = tmp_path / "there" / "part0" / "checkpoint.pt"
        if not killed and checkpoint.exists():
            killed.extend(at_work())
            assert 1 <= len(killed) <= 2
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(running._Watch, "look", kill)
    found = run_jobs(jobs(tmp_path / "there", 120), processes=2, engine="ray", quiet=True)
    assert killed, "its worker was killed on the way"
    assert flat(found) == flat([job.run() for job in jobs(tmp_path / "here", 120)])


def at_work():
    """Ray's processes of this user that are running a job of ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().split(b"\0")[0].decode()
            parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
            above = (Path("/proc") / str(parent) / "stat").read_text().rpartition(")")[2].split()[1]
        except (OSError, ValueError):
            continue
        if re.fullmatch(r"ray::([A-Za-z]+\.)?run(\(\))?", line) and int(above) == os.getpid():
            found.append(int(path.parent.name))
    return found


@pytest.mark.usefixtures("_cluster")
def test_an_error_in_a_job_is_told(tmp_path):
    with pytest.raises(JobError, match=r"part0: (.|\n)*take 'adam'"):
        run_jobs(jobs(tmp_path, 3, count=1, optimizer="torch.adam"), engine="ray", quiet=True)


@pytest.mark.usefixtures("_cluster")
def test_an_interrupt_leaves_checkpoints_to_go_on_from(tmp_path, monkeypatch):
    made, look = jobs(tmp_path / "there", 3000, count=3), running._Watch.look

    def interrupt(watch):
        look(watch)
        if all((job.folder / "checkpoint.pt").exists() for job in made[:2]):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running._Watch, "look", interrupt)
        patch.setattr(running._Watch, "__exit__", lambda watch, *error: watch.bar.close())
        with pytest.raises(KeyboardInterrupt):
            run_jobs(made, engine="ray", quiet=True)
    for job in made[:2]:
        before = (job.folder / "checkpoint.pt").stat().st_mtime
        time.sleep(0.5)
        assert (job.folder / "checkpoint.pt").stat().st_mtime == before, "it does not run on"
        assert job.rows() is None
    assert not made[2].folder.exists()


@pytest.mark.usefixtures("_cluster")
def test_experiments_have_the_rows_that_they_have_here(tmp_path):
    asked = (Digits, ["adam", "torch.lbfgs"], range(2))
    here = carry_out(*asked, tmp_path / "here", size=Size(3, 2))
    there = carry_out(*asked, tmp_path / "there", size=Size(3, 2), engine="ray")
    assert without_times(there) == without_times(here)
    assert carry_out(*asked, tmp_path / "there", size=Size(3, 2), engine="ray") == there, "nothing is done twice"
