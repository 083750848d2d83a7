"""Training runs in folders: rows, best pass, stops and resumes bit for bit, agents as routers, and the scripts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import agents.router
from agents import records
from agents.config import TrainConfig
from agents.training import RunError, best_solution, build, read_config, train
from routing_env import Solution, official_score, read_problem, read_solution, write_problem
from routing_env.generators.published import published

ROOT = Path(__file__).parent.parent
LIAO = ROOT.parent / "shared" / "data" / "liao"


def netlist(seed=1):
    return published(seed=seed, width=4, height=4, nets=3, capacity=3)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("netlist") / "tiny.gr"
    write_problem(netlist(), path)
    return path


def config(file, **changes):
    settings = {
        "netlist": str(file), "passes": 8, "learning_starts": 20, "max_steps": 25, "batch": 16, "updates": 2,
        "observation": "scaled", "reward": "published", "replay": 300, "tensorboard": False, "hidden": (16, 16),
    }  # fmt: skip
    return TrainConfig(**settings | changes)


@pytest.fixture(scope="module")
def finished(file, tmp_path_factory):
    """A run that has ended: its folder and what train returned."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    return folder, train(config(file), folder, quiet=True)


def rows_of(folder):
    """The rows without what differs from run to run; the checkout may move on in between, too."""
    rows = records.read_rows(folder / "rows.jsonl")
    return [{name: row[name] for name in row if name not in ("wall_seconds", "cpu_seconds", "commit")} for row in rows]


def assert_same(a, b, at=""):
    assert type(a) is type(b), at
    if isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for name in a:
            assert_same(a[name], b[name], f"{at}/{name}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), at
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{at}/{i}")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, at
        assert torch.equal(a, b), at
    else:
        assert a == b, at


def checkpoint_of(folder):
    tensors = torch.load(folder / "checkpoint.pt", weights_only=True)
    return tensors | {"plain": json.loads(tensors["plain"])}


# ---- a run


def test_a_run_leaves_a_row_a_pass_and_its_best_pass(file, finished):
    folder, best = finished
    rows = records.read_rows(folder / "rows.jsonl")
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert {row["method"] for row in rows} == {"torch.adam"}
    assert all(row["settings"]["passes"] == 8 for row in rows)
    assert set(rows[0]["metrics"]) == {"routed", "wirelength", "overflow", "environment", "reward"}
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)
    assert rows[-1]["evaluations"]["gradients"] > 10
    seconds = [row["wall_seconds"] for row in rows]
    assert seconds == sorted(seconds)
    top = max((row["metrics"]["routed"], row["metrics"]["reward"]) for row in rows)
    assert (best["connected"], best["reward"]) == top
    assert rows[best["pass"] - 1]["metrics"]["reward"] == best["reward"]
    assert json.loads(json.dumps(best)) == json.loads((folder / "best.json").read_text())
    assert read_config(folder) == config(file)
    assert read_problem(folder / "netlist.gr") == netlist()


def test_the_best_route_scores_as_best_json_says(finished):
    folder, best = finished
    score = official_score(netlist(), folder / "best.route")
    official = best["official"]
    assert (score.wirelength, score.total_overflow, list(score.unrouted)) == (
        official["wirelength"], official["total_overflow"], list(official["unrouted"]),
    )  # fmt: skip
    assert best["passes"] == 8
    assert score.wirelength > 0


def test_two_environments_share_the_passes_and_the_better_best_is_kept(file, tmp_path):
    best = train(config(file, environments=2, passes=6), tmp_path / "two", quiet=True)
    rows = rows_of(tmp_path / "two")
    assert [row["epoch"] for row in rows] == list(range(1, 7))
    assert (best["connected"], best["reward"]) == max(
        (row["metrics"]["routed"], row["metrics"]["reward"]) for row in rows
    )


def test_curves_are_written_where_they_are_asked_for(file, tmp_path):
    train(config(file, passes=2, tensorboard=True), tmp_path / "run", quiet=True)
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_demonstrations_fill_the_replay_before_the_first_move(file, tmp_path):
    train(config(file, passes=2, demonstrations=2), tmp_path / "run", quiet=True)
    moves = records.read_rows(tmp_path / "run" / "rows.jsonl")[-1]["step"]
    assert checkpoint_of(tmp_path / "run")["plain"]["replay"]["pos"] > moves


def test_a_folder_with_a_run_is_not_overwritten(file, finished):
    folder, _ = finished
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RunError, match=re.escape(f"{folder}: there is a run already")):
        train(config(file, passes=1), folder, quiet=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_resuming_a_finished_run_changes_nothing(file, finished):
    folder, best = finished
    before = rows_of(folder), checkpoint_of(folder)
    assert train(config(file, passes=99, seed=5), folder, resume=True, quiet=True) == best
    assert_same(checkpoint_of(folder), before[1])
    assert rows_of(folder) == before[0]


def test_only_a_run_can_be_resumed(file, tmp_path):
    with pytest.raises(RunError, match=r"no config\.json; this is not a run folder"):
        train(config(file), tmp_path, resume=True, quiet=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"passes": 3, "pases": 4}', "unknown settings pases"),
        ('{"passes": 0}', "passes must be at least 1, got 0"),
        ('{"passes": 3,', r"config\.json"),
        ("", r"config\.json"),
    ],
)
def test_a_damaged_config_is_refused(text, message, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path)
    with pytest.raises(ValueError, match=message):
        train(TrainConfig(), tmp_path, resume=True, quiet=True)


def test_rows_that_were_cut_off_are_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert records.read_rows(path) == []
    records.append_row(path, {"epoch": 1})
    with path.open("a") as stream:
        stream.write('{"epoch": 2, "met')
    assert records.read_rows(path) == [{"epoch": 1}]
    records.write_rows(path, [{"epoch": 3}])
    assert records.read_rows(path) == [{"epoch": 3}]
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]


# ---- stops and resumes


LONG = {"passes": 70, "checkpoint_seconds": 0.2}


@pytest.fixture(scope="module")
def uninterrupted(file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(config(file, **LONG), folder, quiet=True)
    return folder


def command(script, *arguments):
    return [sys.executable, "-m", f"scripts.{script}", *map(str, arguments)]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


def started(file, folder):
    """The long run in a process of its own."""
    settings = []
    for name, value in vars(config(file, **LONG)).items():
        if value != getattr(TrainConfig(), name):
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                settings += [f"--{flag}" if value else f"--no-{flag}"]
            else:
                settings += [f"--{flag}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return subprocess.Popen(
        command("train", *settings, "--folder", folder, "--quiet"),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def when_rows(folder, count, process):
    """Wait until so many rows and a checkpoint are written."""
    for _ in range(6000):
        done = (folder / "checkpoint.pt").exists() and len(records.read_rows(folder / "rows.jsonl")) >= count
        if done or process.poll() is not None:
            return
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        (signal.SIGINT, 12),
        (signal.SIGKILL, 20),
        pytest.param(signal.SIGTERM, 3, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(how, rows, file, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    process = started(file, folder)
    when_rows(folder, rows, process)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    if how == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, said
        assert f"interrupted; go on with: python -m scripts.train --resume {folder}" in said
    assert rows <= len(rows_of(folder)) < LONG["passes"], "it was stopped on the way"
    if how == signal.SIGINT:
        done = subprocess.run(
            command("train", "--resume", folder, "--quiet"), env=environment(), capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    else:
        train(TrainConfig(), folder, resume=True, quiet=True)
    assert rows_of(folder) == rows_of(uninterrupted)
    assert_same(checkpoint_of(folder), checkpoint_of(uninterrupted))
    assert (folder / "best.route").read_bytes() == (uninterrupted / "best.route").read_bytes()
    seconds = [row["wall_seconds"] for row in records.read_rows(folder / "rows.jsonl")]
    assert seconds == sorted(seconds), "time goes on, too"


def test_a_run_stopped_before_its_first_checkpoint_begins_anew(file, finished, tmp_path):
    folder = tmp_path / "run"
    train(config(file), folder, quiet=True)
    for name in ("checkpoint.pt", "best.route", "best.json"):
        (folder / name).unlink()
    train(TrainConfig(), folder, resume=True, quiet=True)
    assert rows_of(folder) == rows_of(finished[0])
    assert_same(checkpoint_of(folder), checkpoint_of(finished[0]))


@pytest.mark.parametrize("optimizer", ["asnaq", "olmoq", "lbfgs"])
def test_what_an_optimizer_remembers_is_in_the_checkpoint(optimizer, file, tmp_path, monkeypatch):
    settings = config(file, optimizer=optimizer, passes=12, updates=1, checkpoint_seconds=1e-9)
    train(settings, tmp_path / "whole", quiet=True)
    append = records.append_row

    def interrupted(path, row):
        append(path, row)
        if row["epoch"] == 7:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(records, "append_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", quiet=True)
    monkeypatch.undo()
    assert 7 <= len(rows_of(tmp_path / "cut")) < 12, "it was stopped on the way"
    assert checkpoint_of(tmp_path / "cut")["optimizer"]["state"]["global"]["k"] > 5
    train(TrainConfig(), tmp_path / "cut", resume=True, quiet=True)
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    assert_same(checkpoint_of(tmp_path / "cut"), checkpoint_of(tmp_path / "whole"))


EVERYTHING = {"n_step": 3, "priority": 0.6, "dueling": True, "environments": 2, "demonstrations": 1}


@pytest.mark.parametrize("optimizer", ["adam", "olmoq_mb"])
def test_returns_priorities_and_sub_batches_go_on_bit_for_bit(optimizer, file, tmp_path, monkeypatch):
    settings = config(file, optimizer=optimizer, passes=12, checkpoint_seconds=1e-9, **EVERYTHING)
    train(settings, tmp_path / "whole", quiet=True)
    append = records.append_row

    def interrupted(path, row):
        append(path, row)
        if row["epoch"] == 7:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(records, "append_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", quiet=True)
    monkeypatch.undo()
    cut = checkpoint_of(tmp_path / "cut")
    assert cut["replay"]["tree"].unique().numel() > 20, "priorities differ"
    assert len(cut["window"]) == (3 if optimizer == "olmoq_mb" else 0)
    assert 7 <= len(rows_of(tmp_path / "cut")) < 12, "it was stopped on the way"
    train(TrainConfig(), tmp_path / "cut", resume=True, quiet=True)
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    assert_same(checkpoint_of(tmp_path / "cut"), checkpoint_of(tmp_path / "whole"))
    assert agents.router.route(netlist(9), tmp_path / "cut").info["trained"] is False


def stochastic_names():
    from training import METHODS, needs_model, stochastic

    return [name for name in METHODS if stochastic(name) and not needs_model(name)]


@pytest.mark.parametrize("optimizer", stochastic_names())
def test_every_stochastic_optimizer_trains_an_agent(optimizer, file, tmp_path):
    chosen = config(file, optimizer=optimizer, option=("weight-decay=1e-4",), passes=2, learning_starts=4,
                    train_every=8, updates=1)  # fmt: skip
    fresh = build(chosen, netlist()).policy.state_dict()
    best = train(chosen, tmp_path / "run", quiet=True)
    assert best["passes"] == 2
    saved = checkpoint_of(tmp_path / "run")
    assert saved["plain"]["counters"]["_n_updates"] >= 2
    assert all(group["weight_decay"] == 1e-4 for group in saved["optimizer"]["param_groups"])
    assert all(torch.isfinite(one).all() for one in saved["policy"].values())
    assert any(not torch.equal(one, fresh[name]) for name, one in saved["policy"].items())


# ---- agents as routers


def test_on_the_netlist_it_was_trained_on_the_best_pass_counts(finished):
    folder, best = finished
    solution = agents.router.route(netlist(), folder)
    assert isinstance(solution, Solution)
    assert solution.info["trained"] is True
    assert (solution.info["router"], solution.info["connected"]) == ("double DQN", best["connected"])
    expected = read_solution(netlist(), folder / "best.route").edges
    assert all(map(np.array_equal, solution.edges, expected))


def test_on_another_netlist_the_network_plays_and_repeats_itself(finished):
    folder, _ = finished
    problem, told = netlist(9), []
    solution = agents.router.route(problem, folder, passes=3, seed=4, progress=lambda *said: told.append(said))
    assert solution.info["trained"] is False
    assert solution.info["stopped"] is False
    assert told[-1][:2] == (3, 3)
    again = agents.router.route(problem, folder, passes=3, seed=4)
    assert all(map(np.array_equal, solution.edges, again.edges))
    greedy = agents.router.route(problem, folder, seed=1)
    assert all(map(np.array_equal, greedy.edges, agents.router.route(problem, folder, seed=2).edges))
    best, first = solution.info, greedy.info
    assert (best["connected"], best["reward"]) >= (first["connected"], first["reward"])

    def interrupt(done, total, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agents.router.route(problem, folder, progress=interrupt)
    with pytest.raises(ValueError, match="time_limit must be positive"):
        agents.router.route(problem, folder, time_limit=0)
    assert len(agents.router.route(problem, folder, passes=50, time_limit=1e-9).edges) == 3


def test_an_agent_routes_only_what_it_can_see(file, tmp_path):
    folder = tmp_path / "run"
    train(config(file, passes=1, observation="window", reward="overflow"), folder, quiet=True)
    deeper = published(seed=1, width=4, height=4, nets=3)
    deeper = type(deeper)(4, 4, deeper.layers * 2, deeper.nets, tile_size=(10, 10))
    with pytest.raises(RunError, match=r"observation of size .* on this netlist, .* in training"):
        agents.router.route(deeper, folder)
    (folder / "checkpoint.pt").unlink()
    with pytest.raises(RunError, match=r"no checkpoint\.pt"):
        agents.router.route(netlist(9), folder)


def test_the_environments_of_a_run_are_as_its_settings_say(file):
    chosen = config(file, max_steps=7, via_capacity=2, keep_failed=False, environments=3)
    options = chosen.env_options()
    assert {name: options[name] for name in ("max_steps", "via_capacity", "keep_failed", "observation")} == {
        "max_steps": 7, "via_capacity": 2, "keep_failed": False, "observation": "scaled",
    }  # fmt: skip
    agent = build(chosen, netlist())
    assert agent.env.num_envs == 3
    first = agent.lr_schedule(1.0)
    assert agent.lr_schedule(0.0) == pytest.approx(first * chosen.final_rate)
    assert not any(map(len, best_solution(agent, netlist()).edges))


# ---- scripts


def run(script, *arguments, cwd, expect=0):
    done = subprocess.run(
        command(script, *arguments), cwd=cwd, env=environment(), capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_make_problems_writes_netlists_of_consecutive_seeds(tmp_path):
    done = run("make_problems", "published", "--seed", 4, "--count", 2, "--folder", "made", "--option", "nets=3",
               "width=4", "height=4", cwd=tmp_path)  # fmt: skip
    assert done.stdout.split() == ["made/published4.gr", "made/published5.gr"]
    for seed in (4, 5):
        made = read_problem(tmp_path / "made" / f"published{seed}.gr")
        assert made == published(seed=seed, nets=3, width=4, height=4)


def test_route_writes_a_solution_that_scores_as_said(file, tmp_path):
    done = run("route", file, "--quiet", cwd=tmp_path)
    score = official_score(netlist(), tmp_path / "tiny.negotiated.route")
    assert score.legal
    assert f"official score: overflow 0 (largest 0), wirelength {score.wirelength}" in done.stdout
    content = json.loads((tmp_path / "tiny.negotiated.json").read_text())
    assert content["official"]["wirelength"] == score.wirelength
    assert content["report"]


def test_compare_puts_routers_agents_and_the_bound_side_by_side(file, finished, tmp_path):
    folder, _ = finished
    done = run("compare", file, "--agents", folder, "--folder", "out", "--time-limit", 20, cwd=tmp_path)
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    names = [entry["router"] for entry in content["routers"]]
    assert names[:4] == ["A* (pair by pair)", "A* (net trees)", "negotiated", "exact"]
    assert names[4].startswith("agent mine")
    for entry in content["routers"]:
        assert entry["router"] in done.stdout
        assert entry["gap"] is None or entry["wirelength"] >= content["bound"]["value"]
    routes = sorted((tmp_path / "out").glob("*.route"))
    scores = [official_score(netlist(), path).wirelength for path in routes]
    assert sorted(scores) == sorted(entry["wirelength"] for entry in content["routers"])
    assert {path.name for path in (tmp_path / "out").glob("*.png")} >= {"routes.png", "congestion.png"}


def main_of(script, monkeypatch, *arguments):
    """A script's main() in this process."""
    module = __import__(f"scripts.{script}", fromlist=["main"])
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    return module.main()


def test_train_says_where_the_run_is_and_refuses_a_second_one(file, tmp_path):
    settings = ("--passes", 2, "--netlist", file, "--no-tensorboard", "--max-steps", 12, "--quiet")
    done = run("train", *settings, cwd=tmp_path)
    folder = "runs/tiny.gr-torch.adam-0"
    assert done.stdout.endswith(f"run folder: {folder}\n")
    best = json.loads(done.stdout.partition("run folder")[0])
    assert best["official"]["wirelength"] == official_score(netlist(), tmp_path / folder / "best.route").wirelength
    done = run("train", *settings, cwd=tmp_path, expect=2)
    assert done.stderr == f"error: {folder}: there is a run already; resume it or choose another folder\n"


def test_train_honours_returns_priorities_and_dueling(file, tmp_path, monkeypatch, capsys):
    settings = ("--n-step", 3, "--priority", 0.6, "--dueling", "--optimizer", "adam", "--learning-starts", 10)
    monkeypatch.chdir(tmp_path)
    assert main_of("train", monkeypatch, *settings, "--passes", 2, "--netlist", file, "--no-tensorboard",
                   "--max-steps", 12, "--folder", "run", "--quiet") == 0  # fmt: skip
    saved = checkpoint_of(tmp_path / "run")
    assert saved["policy"]["q_net.q_net.4.bias"].shape == (7,)
    assert saved["replay"]["tree"] is not None
    discounts = {round(one, 4) for one in saved["replay"]["rows"][0, :, -1].tolist()}
    assert 0.729 in discounts <= {0.0, 0.9, 0.81, 0.729}


@pytest.mark.parametrize(
    ("script", "arguments", "named"),
    [
        ("train", ["--netlist", "broken.gr", "--quiet"], "broken.gr:1: "),
        ("train", ["--netlist", "missing.gr", "--quiet"], "missing.gr"),
        ("train", ["--resume", "nowhere", "--quiet"], "nowhere: no config.json"),
        ("route", ["broken.gr", "--quiet"], "broken.gr:1: "),
        ("route", ["missing.gr", "--quiet"], "missing.gr"),
        ("route", ["published:1", "--router", "astra", "--quiet"], "router 'astra' is none of astar"),
        ("route", ["published:x", "--quiet"], "the seed must be a whole number, got 'x'"),
        ("route", ["tiny.gr", "--router", "empty", "--quiet"], "empty: no config.json"),
        ("route", ["tiny.gr", "--out", "no/folder/a.route", "--quiet"], "no/folder/a.route"),
        ("compare", ["broken.gr"], "broken.gr:1: "),
        ("make_problems", ["publish"], "generators has no 'publish'; did you mean 'published'"),
        ("make_problems", ["published", "--option", "net=3"], "published has no argument 'net'; did you mean 'nets'"),
        ("make_problems", ["published", "--count", "0"], "count must be at least 1, got 0"),
        ("make_problems", ["published", "--option", "nets=x"], "nets must be a whole number, got 'x'"),
        ("make_problems", ["clustered", "--as-set"], "--as-set goes with the published generator"),
    ],
)
def test_an_error_is_one_line_that_names_the_cause(script, arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("broken.gr").write_text("this is no netlist\n")
    Path("empty").mkdir()
    write_problem(netlist(), "tiny.gr")
    assert main_of(script, monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert named in said.err
    assert said.out == ""


def test_an_optimizer_that_needs_more_than_a_loss_ends_with_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as raised:
        main_of("train", monkeypatch, "--optimizer", "proxprop")
    assert raised.value.code == 2
    assert "'proxprop' takes a model apart" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_flag_ends_with_status_2(tmp_path, monkeypatch, capsys):
    for script in ("train", "route", "compare", "make_problems"):
        positional = [] if script == "train" else ["published"]
        with pytest.raises(SystemExit) as raised:
            main_of(script, monkeypatch, *positional, "--no-such-flag", "1")
        assert raised.value.code == 2
        assert "no-such-flag" in capsys.readouterr().err


@pytest.mark.parametrize("router", ["astar", "exact"])
def test_every_router_and_a_run_folder_can_be_named(router, finished, tmp_path, monkeypatch, capsys):
    write_problem(netlist(), tmp_path / "tiny.gr")
    for name in (router, finished[0]):
        out = tmp_path / "x.route"
        status = main_of("route", monkeypatch, tmp_path / "tiny.gr", "--router", name, "--out", out, "--quiet")
        score = official_score(netlist(), out)
        assert status == (0 if score.legal else 1)
        assert f"wirelength {score.wirelength}" in capsys.readouterr().out


def test_a_netlist_of_the_study_can_be_trained_on(tmp_path):
    if not LIAO.is_dir():
        pytest.skip("the shared benchmark data are not beside the checkout")
    best = train(config(LIAO / "set05" / "1.gr", passes=1, observation="scaled"), tmp_path / "run", quiet=True)
    problem = read_problem(LIAO / "set05" / "1.gr")
    assert official_score(problem, tmp_path / "run" / "best.route").wirelength == best["official"]["wirelength"]


@pytest.mark.parametrize("text", ["[]", '{"passes": "ten"}', '{"hidden": 3}'])
def test_a_config_of_wrong_kinds_is_refused_by_its_path(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json: "):
        read_config(tmp_path)


def test_a_cut_off_checkpoint_is_named(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint\.pt: damaged"):
        train(TrainConfig(), tmp_path / "run", resume=True, quiet=True)
    with pytest.raises(ValueError, match=r"checkpoint\.pt: damaged"):
        agents.router.route(netlist(9), tmp_path / "run")


def test_a_run_goes_on_with_its_own_copy_of_the_netlist(file, finished, tmp_path):
    mine = tmp_path / "tiny.gr"
    shutil.copy(file, mine)
    short = tmp_path / "run"
    train(config(mine, passes=8), short, quiet=True)
    write_problem(netlist(seed=7), mine)
    again = train(TrainConfig(), short, resume=True, quiet=True)
    assert {name: again[name] for name in again if name != "seconds"} == json.loads(
        (finished[0] / "best.json").read_text()
    )


def test_a_resumed_run_takes_no_other_settings(tmp_path):
    command = [sys.executable, "-m", "scripts.train", "--resume", str(tmp_path), "--passes", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert done.returncode == 2
    assert "--resume takes every setting" in done.stderr


WRONG = {
    "loss": "hubr",
    "max_steps": 0,
    "max_grad_norm": -1.0,
    "target_connections": 0,
    "checkpoint_seconds": float("nan"),
    "reward_option": ("arrival=abc",),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_without_sense_is_named(name):
    with pytest.raises(ValueError, match="arrival" if name == "reward_option" else name):
        TrainConfig(**{name: WRONG[name]})


def test_a_damaged_row_is_named_unless_it_is_the_last(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"b"')
    assert records.read_rows(path) == [{"a": 1}]
    path.write_text('{"a": 1}\n{"b"\n{"c": 1}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl:2"):
        records.read_rows(path)
