"""Populations as jobs, the study and the command line: nothing twice, nothing lost, the same rows."""

import dataclasses
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from populations import config, members, netlists, rows_of, without_times

from agents import jobs as running
from agents import records, shards
from agents.jobs import Job, JobError, run_jobs
from agents.shards import parts, read_netlists, train_population
from benchmarks import routing
from benchmarks.routing import study
from routing_env import official_score, write_problem

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _workers_find_the_checkout(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))


def jobs(folder, passes=8, **changes):
    """Two jobs of two members each."""
    four = members()
    return [
        Job(folder / f"part{k}", tuple(four[2 * k : 2 * k + 2]), config(passes=passes, **changes),
            checkpoint_seconds=0.05) for k in range(2)
    ]  # fmt: skip


def flat(found):
    return without_times([row for rows in found for row in rows])


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Rows of the two jobs, run in this process, by passes."""
    known = {}

    def rows(passes):
        if passes not in known:
            folder = tmp_path_factory.mktemp("expected")
            known[passes] = flat([job.run() for job in jobs(folder, passes)])
        return known[passes]

    return rows


class Looks:
    """What is done at each look at running jobs."""

    def __init__(self, monkeypatch, act):
        look = running._Watch.look

        def looked(watch):
            look(watch)
            act()

        monkeypatch.setattr(running._Watch, "look", looked)


@pytest.fixture
def _in_this_process(monkeypatch):
    """Jobs without workers, which take seconds to begin."""
    for module in (shards, routing):
        monkeypatch.setattr(module, "run_jobs", lambda jobs, **options: [job.run() for job in jobs])


def workers():
    return multiprocessing.active_children()


# ---- jobs


def test_jobs_run_once_with_the_rows_of_a_single_process(expected, tmp_path, monkeypatch):
    made = jobs(tmp_path)
    assert flat(run_jobs(made, processes=2, quiet=True)) == expected(8)
    assert not (made[0].folder / "checkpoint.pt").exists()
    monkeypatch.setattr(running, "_here", None)
    assert flat(run_jobs(made, processes=2, quiet=True)) == expected(8)


def test_two_jobs_in_one_folder_are_refused(tmp_path, monkeypatch):
    one, other = jobs(tmp_path)
    monkeypatch.chdir(tmp_path)
    for folder in (one.folder, Path("part0"), tmp_path / "part1" / ".." / "part0"):
        with pytest.raises(ValueError, match="two jobs have the same folder"):
            run_jobs([one, dataclasses.replace(other, folder=folder)], quiet=True)
    with pytest.raises(ValueError, match="engine 'slurm' is none of local, ray"):
        run_jobs([one], engine="slurm", quiet=True)
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        run_jobs([one], processes=0, quiet=True)
    assert not any(tmp_path.iterdir())


def test_rows_of_another_job_are_refused(expected, tmp_path):
    made = jobs(tmp_path)[:1]
    run_members_here = made[0].run()
    assert len(run_members_here) == 2
    with pytest.raises(ValueError, match=r"rows\.jsonl: rows of other members or settings"):
        run_jobs([dataclasses.replace(made[0], config=config(passes=9))], quiet=True)


def test_a_job_that_raises_is_told_with_its_traceback(tmp_path):
    broken = jobs(tmp_path, optimizer="torch.adam")
    with pytest.raises(JobError, match="take 'adam'") as raised:
        run_jobs(broken, processes=1, quiet=True)
    text = str(raised.value)
    assert text.startswith(f"{broken[0].folder}: Traceback")
    assert not broken[1].folder.exists(), "the next one is not begun"
    # what was wrong is mended, and the folder can be used
    assert len(run_jobs(jobs(tmp_path, passes=2)[:1], quiet=True)[0]) == 2
    assert not (broken[0].folder / "error.txt").exists()


def test_a_worker_that_is_killed_is_begun_again(expected, tmp_path, monkeypatch):
    killed = []

    def kill():
        if len(killed) < 2 and (tmp_path / "part0" / "checkpoint.pt").exists():
            for one in workers():
                if one.pid not in killed:
                    killed.append(one.pid)
                    one.kill()

    Looks(monkeypatch, kill)
    found = run_jobs(jobs(tmp_path, passes=80), processes=1, quiet=True)
    assert len(killed) == 2
    assert flat(found) == expected(80)


def test_a_worker_that_is_lost_again_and_again_is_given_up(tmp_path, monkeypatch):
    Looks(monkeypatch, lambda: [one.kill() for one in workers()])
    monkeypatch.setattr(running, "TRIES", 2)
    with pytest.raises(JobError, match=r"part0: its worker was lost 2 times"):
        run_jobs(jobs(tmp_path, passes=500)[:1], quiet=True)


def test_an_interrupt_leaves_checkpoints_to_go_on_from(expected, tmp_path, monkeypatch):
    # as a terminal does it: the workers get SIGINT, too, before their parent asks them to stop
    def interrupt():
        if (tmp_path / "part0" / "checkpoint.pt").exists() and workers():
            (tmp_path / "part0" / "checkpoint.pt").unlink()
            os.kill(workers()[0].pid, signal.SIGINT)
            raise KeyboardInterrupt

    made = [dataclasses.replace(job, checkpoint_seconds=0.5) for job in jobs(tmp_path, passes=80)]
    with monkeypatch.context() as patch:
        Looks(patch, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_jobs(made, processes=1, quiet=True)
    assert not workers()
    assert (tmp_path / "part0" / "checkpoint.pt").exists()
    assert flat(run_jobs(made, processes=2, quiet=True)) == expected(80)


PARENT = """
import sys
from pathlib import Path
from agents.jobs import run_jobs
from test_jobs import jobs
if __name__ == "__main__":
    run_jobs(jobs(Path(sys.argv[1]), int(sys.argv[2])), processes=1, quiet=True)
"""


def test_an_orphan_ends_with_its_checkpoint(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path / "runs"), "5000"])
    checkpoint = tmp_path / "runs" / "part0" / "checkpoint.pt"
    wait_for(checkpoint.exists, parent)
    mine = children(parent.pid)
    parent.kill()
    parent.wait()
    assert mine
    end = time.monotonic() + 30
    while any(map(alive, mine)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, mine))
    assert torch.load(checkpoint, weights_only=True)["population"]["moves"] > 0
    assert not (tmp_path / "runs" / "part0" / "error.txt").exists()


def wait_for(holds, process, seconds=90):
    end = time.monotonic() + seconds
    while not holds() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert holds()


def children(pid):
    """The running workers of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            line = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == pid and "spawn_main" in line:
            found.append(int(path.parent.name))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---- populations in shards


@pytest.fixture
def files(tmp_path):
    """Netlists of two grid shapes: their folder."""
    folder = tmp_path / "nets"
    folder.mkdir()
    for number, problem in enumerate(netlists(3)):
        write_problem(problem, folder / f"{number}.gr")
    wide = dataclasses.replace(netlists(1)[0], width=5, name="wide")
    write_problem(wide, folder / "9.gr")
    return folder


def test_shards_are_of_one_grid_shape_and_as_many_as_there_are_processes(files):
    found = read_netlists([str(files)])
    assert [label for label, _ in found] == ["nets-0", "nets-1", "nets-2", "nets-9"]
    mixed = [dataclasses.replace(members(1)[0], problem=problem) for _, problem in found]
    assert parts(mixed, 1, 64) == [[0, 1, 2], [3]]
    assert parts(mixed, 2, 64) == [[0, 1], [2], [3]]
    assert parts(mixed, 1, 1) == [[0], [1], [2], [3]]


@pytest.mark.usefixtures("_in_this_process")
def test_shards_and_processes_do_not_change_the_rows(files, tmp_path):
    settings = config(passes=4, tensorboard=False)
    runs = {}
    for name, options in {"one": {}, "more": {"processes": 2, "shard": 1}}.items():
        rows = train_population([str(files)], settings, tmp_path / name, seeds=2, quiet=True, **options)
        assert rows == records.read_rows(tmp_path / name / "rows.jsonl")
        runs[name] = without_times(rows, "population")
    assert runs["one"] == runs["more"]
    labels = [(row["metrics"]["netlist"], row["seed"]) for row in runs["one"]]
    assert labels == [(f"nets-{k}", seed) for k in (0, 1, 2, 9) for seed in (0, 1)]
    routes = {path.name for path in (tmp_path / "one" / "routes").iterdir()}
    assert routes == {f"{label}-{seed}.route" for label, seed in labels}


def test_populations_of_senseless_numbers_are_refused(files, tmp_path):
    for named, options in {
        "seeds must be at least 1, got 0": {"seeds": 0},
        "processes must be at least 1, got 0": {"processes": 0},
        "shard must be at least 1, got -1": {"shard": -1},
        "learning rates must be positive": {"learning_rates": (0.1, -1.0)},
        "learning rates that are alike": {"learning_rates": (0.1, 0.1)},
        "neither cpu nor cuda": {"device": "gpu"},
        "--seed is of a single agent; take --seeds": {"config": config(seed=3)},
        "--environments is of a single agent": {"config": config(environments=3)},
        "take 'adam'": {"config": config(optimizer="torch.adam")},
    }.items():
        with pytest.raises(ValueError, match=re.escape(named)):
            train_population([str(files)], options.pop("config", config()), tmp_path / "run", quiet=True, **options)
    assert not (tmp_path / "run").exists(), "what was refused leaves nothing"


# ---- the command line

SETTINGS = (
    "--passes", 4, "--learning-starts", 5, "--max-steps", 20, "--batch", 32, "--train-every", 1, "--replay", 400,
    "--hidden", 32, 32, "--learning-rate", 0.003, "--demonstrations", 3, "--no-tensorboard", "--quiet",
)  # fmt: skip


def script_main(monkeypatch, *arguments):
    from scripts import train_population

    monkeypatch.setattr(sys, "argv", ["train_population", *map(str, arguments)])
    return train_population.main()


def test_the_script_trains_files_of_two_shapes_and_refuses_other_settings(files, tmp_path, monkeypatch, capsys):
    settings = (files, *SETTINGS, "--folder", tmp_path / "run", "--processes", 1, "--bounds")
    assert script_main(monkeypatch, *settings) == 0
    said = capsys.readouterr()
    assert f"rows and routes: {tmp_path / 'run'}/" in said.out
    rows = records.read_rows(tmp_path / "run" / "rows.jsonl")
    assert [row["metrics"]["netlist"] for row in rows] == ["nets-0", "nets-1", "nets-2", "nets-9"]
    assert {row["method"] for row in rows} == {"adam"}
    for row, (_, problem) in zip(rows, read_netlists([str(files)]), strict=True):
        metrics = row["metrics"]
        path = tmp_path / "run" / "routes" / f"{metrics['netlist']}-0.route"
        assert official_score(problem, path).wirelength == metrics["wirelength"]
        assert metrics["bound"] > 0
    assert script_main(monkeypatch, *settings) == 0, "the same command again changes nothing"
    assert records.read_rows(tmp_path / "run" / "rows.jsonl") == rows
    capsys.readouterr()
    assert script_main(monkeypatch, *settings, "--gamma", 0.5, "--seeds", 2) == 2
    said = capsys.readouterr()
    assert said.err == (
        f"error: {tmp_path / 'run'}: there is a population of other gamma, seeds; choose another folder\n"
    )


@pytest.mark.usefixtures("_in_this_process")
def test_the_script_gives_each_learning_rate_an_agent(files, tmp_path, monkeypatch):
    settings = (files / "0.gr", *SETTINGS, "--folder", tmp_path / "run", "--processes", 1)
    assert script_main(monkeypatch, *settings, "--learning-rates", 0.01, 0.001) == 0
    rows = records.read_rows(tmp_path / "run" / "rows.jsonl")
    assert [row["metrics"]["netlist"] for row in rows] == ["0-0.01", "0-0.001"]
    assert [row["metrics"]["learning_rate"] for row in rows] == pytest.approx([0.01, 0.001])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "no netlist given"),
        (["missing.gr"], "missing.gr"),
        (["published:x"], "the seed must be a whole number, got 'x'"),
        (["published:4-2"], "expected published:FIRST-LAST"),
        (["published:1", "published:1"], "netlists of the same name: published1"),
        (["published:1", "--preset", "bst"], "no preset 'bst'; did you mean 'best'"),
        (["published:1", "--optimizer", "torch.adam"], "take 'adam'"),
        (["published:1", "--device", "cuda"], "device 'cuda': torch sees no CUDA device; take cpu"),
        (["published:1", "--engine", "slurm"], "engine 'slurm' is none of local, ray"),
        (["published:1", "--graphs", "on"], "graphs 'on': device 'cpu' has no CUDA graphs; take auto or off"),
        (["published:1", "--graphs", "yes"], "graphs 'yes' is none of auto, on, off"),
    ],
)
def test_an_error_is_one_line_that_names_the_cause(arguments, named, tmp_path, monkeypatch, capsys):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is CUDA")
    monkeypatch.chdir(tmp_path)
    assert script_main(monkeypatch, *arguments, "--quiet") == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert named in said.err


def test_presets_are_for_the_optimizer_of_populations(tmp_path, monkeypatch):
    from scripts import train_population

    asked = {}
    monkeypatch.setattr(train_population, "train_population", lambda names, config, *args, **kw: asked.update(
        config=config) or [])  # fmt: skip
    monkeypatch.setattr(train_population, "text_table", str)
    for arguments, optimizer, rate in (
        ([], "adam", None), (["--preset", "published"], "adam", 1e-4), (["--preset=best"], "adam", None),
        (["--preset", "published", "--optimizer", "asnaq"], "asnaq", 0.01),
    ):  # fmt: skip
        assert script_main(monkeypatch, "published:0", *arguments) == 0
        assert (asked["config"].optimizer, asked["config"].learning_rate) == (optimizer, rate)


def test_help_names_the_flags(monkeypatch, capsys):
    with pytest.raises(SystemExit) as raised:
        script_main(monkeypatch, "--help")
    assert raised.value.code == 0
    said = capsys.readouterr().out
    for flag in ("--learning-rates", "--processes", "--bounds", "--preset", "--optimizer", "--device"):
        assert flag in said


# ---- the study


@pytest.fixture
def small_set(files, tmp_path):
    (files / "9.gr").unlink()
    return {"name": str(files), "folder": tmp_path / "runs", "results": tmp_path / "results", "quiet": True}


def test_a_study_has_all_rows_and_runs_nothing_twice(small_set, monkeypatch):
    arms = {"a": config(passes=3), "b": config(passes=3, optimizer="rmsprop")}
    ran = []

    def told(jobs, *, finished, **options):
        ran.append([(job.label, one.netlist, one.seed) for job in jobs for one in job.members])
        for job in jobs:
            finished(job, job.run())

    monkeypatch.setattr(routing, "run_jobs", told)
    first = study(arms=arms, seeds=[0], count=2, **small_set)
    assert [(label, row["metrics"]["netlist"], row["seed"]) for label in "ab" for row in first[label]] == ran[0]
    assert len(ran[0]) == 4
    whole = study(arms=arms, seeds=[0, 1], **small_set)
    wanted = [(netlist, seed) for seed in (0, 1) for netlist in ("0", "1", "2")]
    for label in arms:
        assert [(row["metrics"]["netlist"], row["seed"]) for row in whole[label]] == wanted
        assert {row["method"] for row in whole[label]} == {label}
        assert whole[label][:2] == first[label]
        kept = routing.read(small_set["results"] / f"nets-{label}.jsonl.gz")
        assert kept == whole[label]
    assert len(ran[0]) + len(ran[1]) == len(set(ran[0] + ran[1])) == 12
    assert study(arms=arms, seeds=[0, 1], **small_set) == whole
    assert ran[2] == []
    with pytest.raises(ValueError, match=r"nets-a\.jsonl\.gz: rows of other settings; take another label"):
        study(arms={"a": config(passes=4)}, seeds=[0], **small_set)


@pytest.mark.usefixtures("_in_this_process")
def test_bounds_of_other_netlists_are_not_taken(small_set, tmp_path):
    study(arms={"a": config(passes=1)}, seeds=[0], **small_set)
    other = tmp_path / "other" / "nets"
    other.mkdir(parents=True)
    write_problem(netlists(1, seed=8)[0], other / "5.gr")
    with pytest.raises(ValueError, match=r"nets-netlists\.jsonl: bounds of other netlists"):
        study(arms={"a": config(passes=1)}, seeds=[0], **small_set | {"name": str(other)})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nets5"], "no set or folder of .gr files 'nets5'; did you mean 'nets50'"),
        (["nets10", "--preset", "publishd"], "no preset 'publishd'; did you mean 'published'"),
        (["nets10", "--optimizers", "adm"], "did you mean 'adam'"),
        (["nets10", "--device", "gpu"], "device 'gpu' is neither cpu nor cuda"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_one_line(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["routing", *arguments, "--results", "results", "--quiet"])
    assert routing.main() == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert named in said.err


# ---- the whole command, killed


@pytest.mark.slow
@pytest.mark.parametrize(("shard", "trials"), [(64, 20), (2, 5)])
def test_a_command_killed_at_random_moments_goes_on_every_time(shard, trials, files, tmp_path):
    (files / "9.gr").unlink()
    settings = [100 if before == "--passes" else one for before, one in zip((0, *SETTINGS), SETTINGS, strict=False)]
    settings += ["--processes", 1, "--shard", shard, "--checkpoint-seconds", 0.2]

    def run_for(folder, seconds):
        """Run the command; kill its group so many seconds after its first shard began. Whether it was killed."""
        command = [sys.executable, "-m", "scripts.train_population", files, *settings, "--folder", folder]
        with (tmp_path / "said.txt").open("w") as said:
            process = subprocess.Popen(
                list(map(str, command)), cwd=ROOT, stdout=said, stderr=said, start_new_session=True
            )
            wait_for((folder / "shard-0" / "lock").exists, process)
            try:
                assert process.wait(seconds) == 0, (tmp_path / "said.txt").read_text()
                return False
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return True

    assert not run_for(tmp_path / "whole", None)
    files_of = {path: path.stat().st_mtime for path in (tmp_path / "whole").rglob("*")}
    lasted = max(files_of.values()) - files_of[tmp_path / "whole" / "shard-0" / "lock"]
    rng, met = random.Random(0), {"a checkpoint": 0, "a finished shard": 0}
    for trial in range(trials):
        folder = tmp_path / f"cut{trial}"
        killed = run_for(folder, rng.uniform(0.05, 0.8) * lasted)
        assert killed, "it is killed on its way"
        met["a checkpoint"] += any(folder.glob("*/checkpoint.pt"))
        met["a finished shard"] += any(folder.glob("*/rows.jsonl"))
        assert not run_for(folder, None)
        assert rows_of(folder) == rows_of(tmp_path / "whole"), f"trial {trial}"
        for one in (tmp_path / "whole").glob("shard-*"):
            kept = [
                torch.load(base / one.name / "weights.pt", weights_only=True) for base in (tmp_path / "whole", folder)
            ]
            assert kept[0]["members"] == kept[1]["members"]
            assert all(torch.equal(a, b) for a, b in zip(kept[0]["params"], kept[1]["params"], strict=True))
        for path in (tmp_path / "whole" / "routes").iterdir():
            assert path.read_bytes() == (folder / "routes" / path.name).read_bytes()
        print(json.dumps({"killed and the same": trial + 1} | met), flush=True)
    assert met["a checkpoint"] >= (6 if shard == 64 else 0)
    assert met["a finished shard"] >= (0 if shard == 64 else 1)
