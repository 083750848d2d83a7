"""Members from their first to their last pass: what rows say, early ends, stops, refusals, memory, curves."""

import dataclasses
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from populations import config, members, netlists, rows_of, without_times

from agents import members as running
from agents import memory, records
from agents.members import read_networks, run_members
from agents.memory import _bytes, bytes_per_member, check_memory
from agents.population import CURVES, Population
from agents.stopping import Interrupted, asked_to_stop
from routing_env import official_score, read_solution
from routing_env.metrics import summary
from routing_env.rules import COUNT, PASSES

ROOT = Path(__file__).parent.parent


def stopping(monkeypatch, after):
    """Ask a run to stop after so many looks."""
    looks, to_the_end = [], running._Run.to_the_end

    def stopped(self, checkpoint_seconds, stop):
        def asked():
            looks.append(None)
            return stop() or len(looks) == after

        return to_the_end(self, checkpoint_seconds, asked)

    monkeypatch.setattr(running._Run, "to_the_end", stopped)


def run_in_pieces(monkeypatch, folder, after, chosen, settings, **options):
    """A run that is stopped after so many looks, then goes on to its end."""
    with monkeypatch.context() as patch:
        stopping(patch, after)
        with pytest.raises(Interrupted):
            run_members(chosen, settings, folder, **options)
    assert (folder / "checkpoint.pt").exists()
    assert not (folder / "rows.jsonl").exists()
    return run_members(chosen, settings, folder, **options)


def weights(folder):
    return torch.load(folder / "weights.pt", weights_only=True)


def assert_equal_weights(one, other, places=None, at=None):
    for a, b in zip(one["params"], other["params"], strict=True):
        assert torch.equal(a if places is None else a[places], b if at is None else b[at])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four members to their last pass: their folder and rows."""
    folder = tmp_path_factory.mktemp("members") / "whole"
    return folder, run_members(members(bounds=True), config(), folder, tensorboard=True)


# ---- rows


def test_rows_say_what_the_members_did(whole):
    folder, rows = whole
    assert rows == records.read_rows(folder / "rows.jsonl")
    assert [(row["metrics"]["netlist"], row["seed"]) for row in rows] == [(f"net{i}", 10 + i) for i in range(4)]
    for row, member in zip(rows, members(bounds=True), strict=True):
        metrics, curve = row["metrics"], row["metrics"]["curve"]
        assert set(curve) == set(CURVES)
        assert {len(line) for line in curve.values()} == {12}
        assert (metrics["passes"], row["epoch"], row["step"]) == (12, 12, curve["step"][-1])
        assert curve["step"] == sorted(curve["step"])
        full = [i for i, routed in enumerate(curve["routed"], 1) if routed == metrics["connections"] == 3]
        assert metrics["first_full"] == (full[0] if full else None)
        assert metrics["full_passes"] == len(full)
        assert row["evaluations"]["updates"] == 2 * (row["step"] - 5)
        assert row["settings"] == running._json({
            name: value for name, value in dataclasses.asdict(config()).items() if name not in running.NOT_OF_MEMBERS
        })  # fmt: skip
        assert (metrics["bound"], metrics["population"]) == (member.bound, 4)
        assert metrics["learning_rate"] == pytest.approx(0.003)
        assert row["method"] == "adam"
    assert any(row["metrics"]["first_full"] for row in rows), "the netlists are learnt"


def test_the_row_and_the_route_are_of_the_best_pass(whole):
    folder, rows = whole
    assert len(list((folder / "routes").iterdir())) == 4
    for row, problem in zip(rows, netlists(), strict=True):
        metrics, curve = row["metrics"], row["metrics"]["curve"]
        passes = list(zip(curve["routed"], [-one for one in curve["overflow"]],
                          [-one for one in curve["wirelength"]], strict=True))  # fmt: skip
        assert passes[metrics["pass"] - 1] == max(passes)
        path = folder / "routes" / f"{metrics['netlist']}-{row['seed']}.route"
        score = official_score(problem, path)
        assert (score.wirelength, score.total_overflow, score.legal) == (
            metrics["wirelength"], metrics["overflow"], metrics["legal"],
        )  # fmt: skip
        totals = summary(problem, read_solution(problem, path))
        assert len(problem.nets) - len(totals.unrouted) == metrics["connected"] == curve["routed"][metrics["pass"] - 1]
        if metrics["connected"] == 3:
            assert metrics["wirelength"] == curve["wirelength"][metrics["pass"] - 1] >= metrics["bound"]


def test_nothing_is_done_again_once_the_rows_are_written(whole, monkeypatch):
    folder, rows = whole
    monkeypatch.setattr(running, "_Run", None)
    assert run_members(members(bounds=True), config(), folder) == rows


def test_the_networks_can_be_called(whole):
    folder, _ = whole
    population = Population(netlists(), config(), [10 + i for i in range(4)])
    while int(population.env.tables["state"][:, PASSES].min()) < 12:
        for _ in range(population.stride):
            population.advance()
        population.poll()
    kept = weights(folder)
    assert kept["members"] == [[f"net{i}", 10 + i] for i in range(4)]
    last = max(range(4), key=lambda place: population.history[place]["step"][11])
    net = read_networks(folder)
    obs = torch.rand(4, 5, net.sizes[0])
    assert torch.equal(net(obs)[last], population.net(obs)[last]), "the one that ended last is in no later move"
    assert net.member(last).keys() == population.net.member(last).keys()
    with pytest.raises(OSError, match=r"weights\.pt"):
        read_networks(folder / "nowhere")


def test_curves_hold_mean_and_quartiles_over_the_members(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, rows = whole
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    assert len(found.Tags()["scalars"]) == 16
    lines = np.array([row["metrics"]["curve"]["reward"] for row in rows])
    wanted = {"mean": lines.mean(0), "lower quartile": np.quantile(lines, 0.25, axis=0),
              "median": np.median(lines, axis=0), "upper quartile": np.quantile(lines, 0.75, axis=0)}  # fmt: skip
    for kind, line in wanted.items():
        events = found.Scalars(f"reward/{kind}")
        assert [event.step for event in events] == list(range(1, len(events) + 1))
        np.testing.assert_allclose([event.value for event in events], line, rtol=1e-4, atol=1e-4)


def test_curves_go_on_with_the_last_pass_of_those_that_ended_early(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = run_members(members(bounds=True), config(), tmp_path / "early", stop_at_bound=True)
    found = EventAccumulator(str(tmp_path / "early" / "tensorboard"))
    found.Reload()
    curves = [row["metrics"]["curve"]["wirelength"] for row in rows]
    most = max(map(len, curves))
    assert min(map(len, curves)) < most
    padded = np.array([line + line[-1:] * (most - len(line)) for line in curves])
    values = [event.value for event in found.Scalars("wirelength/mean")]
    np.testing.assert_allclose(values, padded.mean(0), rtol=1e-4)


# ---- early ends


def test_a_member_ends_with_the_first_pass_at_its_bound(whole, tmp_path):
    _, rows = whole
    early = run_members(members(bounds=True), config(), tmp_path / "early", stop_at_bound=True, tensorboard=False)
    ended = 0
    for row, full in zip(early, rows, strict=True):
        metrics, curve = row["metrics"], full["metrics"]["curve"]
        at_bound = [i for i in range(12) if curve["routed"][i] == 3 and curve["wirelength"][i] <= metrics["bound"]]
        last = at_bound[0] + 1 if at_bound else 12
        assert metrics["passes"] == row["epoch"] == last
        assert metrics["curve"] == {name: line[:last] for name, line in curve.items()}
        if at_bound:
            ended += 1
            assert (metrics["pass"], metrics["wirelength"], metrics["legal"]) == (last, metrics["bound"], True)
    assert ended > 0, "some reach their bound"


def test_bounds_without_the_wish_end_nobody(whole):
    assert {row["metrics"]["passes"] for row in whole[1]} == {12}


@pytest.mark.parametrize("optimizer", ["adam", "asnaq"])
def test_members_that_ended_are_taken_out_and_the_others_do_not_notice(optimizer, tmp_path, monkeypatch):
    chosen = members(6)
    # three of them may end with any fully routed pass
    easy = [dataclasses.replace(one, bound=99 if i % 2 else None) for i, one in enumerate(chosen)]
    settings, kept = config(optimizer=optimizer, passes=14), []
    keep = Population.keep

    def told(self, places):
        kept.append(list(places))
        keep(self, places)

    monkeypatch.setattr(Population, "keep", told)
    rows = run_members(easy, settings, tmp_path / "early", stop_at_bound=True, tensorboard=False)
    assert kept, "some were taken out before the end"
    apart = run_members([easy[i] for i in (0, 2, 4)], settings, tmp_path / "apart", tensorboard=False)
    assert without_times([rows[i] for i in (0, 2, 4)], "population") == without_times(apart, "population")
    assert_equal_weights(weights(tmp_path / "early"), weights(tmp_path / "apart"), [0, 2, 4])
    assert any(rows[i]["metrics"]["passes"] < 14 for i in (1, 3, 5))


def test_a_member_alone_is_the_member_beside_others(whole, tmp_path):
    _, rows = whole
    alone = run_members(members(bounds=True)[2:3], config(), tmp_path / "alone", tensorboard=False)
    assert without_times(alone, "population") == without_times(rows[2:3], "population")
    assert_equal_weights(weights(whole[0]), weights(tmp_path / "alone"), [2])


# ---- stops


@pytest.mark.parametrize("optimizer", ["adam", "asnaq", "olmoq"])
@pytest.mark.parametrize("after", [1, 7, 30])
def test_a_stopped_run_goes_on_as_if_it_had_not(optimizer, after, tmp_path, monkeypatch):
    settings = config(optimizer=optimizer, priority=0.6 if after == 7 else 0.0)
    easy = [dataclasses.replace(one, bound=99 if i % 2 else None) for i, one in enumerate(members(6))]
    rows = run_members(easy, settings, tmp_path / "whole", stop_at_bound=True, tensorboard=False)
    again = run_in_pieces(monkeypatch, tmp_path / "cut", after, easy, settings, stop_at_bound=True, tensorboard=False)
    assert without_times(again) == without_times(rows)
    assert_equal_weights(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    names = [path.name for path in (tmp_path / "whole" / "routes").iterdir()]
    for name in names:
        same = [(tmp_path / folder / "routes" / name).read_bytes() for folder in ("whole", "cut")]
        assert same[0] == same[1]


def steps_of_curves(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return [event.step for event in found.Scalars("routed/mean")]


def test_curves_have_no_hole_where_a_run_was_stopped(tmp_path, monkeypatch):
    run_in_pieces(monkeypatch, tmp_path / "cut", 30, members(), config())
    assert steps_of_curves(tmp_path / "cut") == list(range(1, 13))


CHILD = """
import sys
from pathlib import Path
from populations import config, members
from agents.members import run_members
from agents.stopping import Interrupted
try:
    run_members(members(), config(passes=int(sys.argv[2])), Path(sys.argv[1]), checkpoint_seconds=0.05)
except Interrupted:
    sys.exit(130)
"""


def child(folder, passes):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), str(passes)], env=os.environ | {
        "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)  # fmt: skip


def when(holds, process, seconds=60):
    end = time.monotonic() + seconds
    while not holds() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert holds(), process.communicate()[1] if process.poll() is not None else "it takes too long"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_stops_a_run_that_goes_on_later(how, tmp_path):
    process = child(tmp_path / "cut", 100)
    when((tmp_path / "cut" / "checkpoint.pt").exists, process)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGTERM else -signal.SIGKILL), said
    assert not (tmp_path / "cut" / "rows.jsonl").exists(), "it was stopped on the way"
    settings = config(passes=100)
    time.sleep(1.1)  # curves are read in the order of the seconds in which they were begun
    rows = run_members(members(), settings, tmp_path / "cut")
    whole = run_members(members(), settings, tmp_path / "whole", tensorboard=False)
    assert without_times(rows) == without_times(whole)
    assert_equal_weights(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    assert steps_of_curves(tmp_path / "cut") == list(range(1, 101))


def test_an_interrupt_and_the_parents_request_are_one_wish():
    with asked_to_stop() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_ends_when_its_parent_is_gone(tmp_path):
    with pytest.raises(Interrupted):
        run_members(members(), config(), tmp_path / "run", parent=1 if os.getppid() != 1 else 2, tensorboard=False)
    assert (tmp_path / "run" / "checkpoint.pt").exists()


# ---- refusals


def other_netlists():
    return [dataclasses.replace(one, problem=problem) for one, problem in
            zip(members(), netlists(seed=4), strict=True)]  # fmt: skip


OTHERS = {
    "members": lambda: (members(3), config()),
    "seeds": lambda: ([dataclasses.replace(one, seed=1) for one in members()], config()),
    "netlists of the same names": lambda: (other_netlists(), config()),
    "learning rates": lambda: (members(rate=0.1), config()),
    "settings": lambda: (members(), config(gamma=0.8)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_others_is_refused(what, tmp_path, monkeypatch):
    stopping(monkeypatch, 3)
    with pytest.raises(Interrupted):
        run_members(members(), config(), tmp_path, tensorboard=False)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'checkpoint.pt'}: made by other members or settings")):
        run_members(*OTHERS[what](), tmp_path, tensorboard=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("what", ["members", "seeds", "settings"])
def test_rows_of_others_are_refused(what, whole):
    with pytest.raises(ValueError, match=re.escape(f"{whole[0] / 'rows.jsonl'}: rows of other members or settings")):
        run_members(*OTHERS[what](), whole[0])


@pytest.mark.parametrize("size", [0, 1000])
def test_a_damaged_checkpoint_is_named(size, tmp_path, monkeypatch):
    stopping(monkeypatch, 3)
    with pytest.raises(Interrupted):
        run_members(members(), config(), tmp_path, tensorboard=False)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=re.escape(f"{path}: damaged checkpoint")):
        run_members(members(), config(), tmp_path, tensorboard=False)


def test_settings_of_the_run_are_not_settings_of_the_members(whole):
    folder, rows = whole
    other = config(netlist="published:3", seed=9, environments=2, checkpoint_seconds=1.0, tensorboard=False)
    assert run_members(members(bounds=True), other, folder) == rows


def test_learning_rates_are_of_all_members_or_of_none(tmp_path):
    mixed = members(2, rate=0.1) + members(4)[2:]
    with pytest.raises(ValueError, match="a learning rate of each member, or of none"):
        run_members(mixed, config(), tmp_path)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "gpu", "mps"])
def test_devices_that_are_not_there_are_refused(device, tmp_path):
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is CUDA")
    with pytest.raises(ValueError, match=f"device '{device}'"):
        run_members(members(), config(), tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=f"device '{device}'"):
        check_memory(4, netlists()[0], config(), device)


# ---- two processes


def test_a_second_process_waits_for_the_first(tmp_path):
    tmp_path.joinpath("lock").touch()
    with tmp_path.joinpath("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = []
        second = threading.Thread(
            target=lambda: found.extend(run_members(members(2), config(passes=2), tmp_path, tensorboard=False))
        )
        second.start()
        time.sleep(0.5)
        assert second.is_alive()
        assert {path.name for path in tmp_path.iterdir()} == {"lock"}
    second.join(60)
    assert [row["epoch"] for row in found] == [2, 2]


def test_two_processes_in_one_folder_do_its_work_once(tmp_path):
    both = [child(tmp_path / "run", 60) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0], [one.stderr.read() for one in both]
    for one in both:
        one.stderr.close()
    whole = run_members(members(), config(passes=60), tmp_path / "whole", tensorboard=False)
    assert rows_of(tmp_path / "run") == without_times(whole)


# ---- memory


@pytest.mark.parametrize("changes", [{}, {"priority": 0.5, "n_step": 3}, {"observation": "window"}])
def test_the_bytes_of_a_member_are_those_it_takes(changes):
    settings = config(replay=20_000, **changes)
    told = bytes_per_member(netlists()[0], settings)
    many = 8
    population = Population(netlists() * 2, settings, range(many))
    for _ in range(30):
        population.advance()
    replay = population.replay
    taken = replay.rows.numel() * replay.rows.element_size()
    if replay.tree is not None:
        taken += replay.tree.sums.numel() * 8
    assert told["replay"] == pytest.approx(taken / many, rel=0.2)
    tables = sum(one.numel() * one.element_size() for one in population.env.tables.values())
    assert told["environment"] == pytest.approx(tables / many, rel=0.2)
    taken = _bytes(population.optimizer.state_dict()["state"])
    assert told["optimizer"] == pytest.approx(taken / many, rel=0.2)


def test_what_does_not_fit_into_memory_is_refused_with_numbers(monkeypatch):
    problem, settings = netlists()[0], config(replay=50_000)
    monkeypatch.setattr(memory, "_available", lambda: 2**30)
    parts = check_memory(10, problem, settings)
    assert sum(parts.values()) < 2**30
    with pytest.raises(ValueError, match="members need") as refused:
        check_memory(1000, problem, settings)
    needed = 100 * sum(parts.values()) / 2**30
    text = str(refused.value)
    assert text.startswith(f"1000 members need {needed:.1f} GiB (replay {100 * parts['replay'] / 2**30:.1f}, ")
    assert "and 1.0 GiB are free: take fewer members, a smaller replay, or a device with more memory" in text


def test_progress_tells_of_all_members(whole):
    told = json.loads((whole[0] / "progress.json").read_text())
    full = sum(row["metrics"]["first_full"] is not None for row in whole[1])
    assert told == {"passes": 48, "all": 48, "ended": 4, "fully_routed": full, "members": 4}


def test_netlists_of_different_lengths_train_side_by_side(tmp_path):
    mixed = members(2) + [dataclasses.replace(one, netlist=f"long-{one.netlist}") for one in members(2, nets=5)]
    rows = run_members(mixed, config(passes=6), tmp_path / "mixed", tensorboard=False)
    assert [row["metrics"]["connections"] for row in rows] == [3, 3, 5, 5]
    apart = run_members(mixed[2:], config(passes=6), tmp_path / "apart", tensorboard=False)
    assert without_times(rows[2:], "population") == without_times(apart, "population")
    counts = Population([one.problem for one in mixed], config(), [0] * 4).env.tables["state"][:, COUNT]
    assert counts.tolist() == [3, 3, 5, 5]
