"""The floor of the study: walkers that learn nothing."""

import pytest
import torch

from agents.draws import Draws
from benchmarks import walkers
from benchmarks.routing import write
from routing_env import rules
from routing_env.device_env import TensorRouting
from routing_env.generators.published import published_set


def problems():
    return published_set(4, seed=3, width=5, height=5, nets=4, capacity=3)


def test_the_greedy_walker_comes_closer_where_it_can_and_only_moves_that_are_allowed():
    env = TensorRouting(problems(), observation="scaled")
    env.begin()
    draws = Draws(range(4))
    closer = 0
    for _ in range(60):
        uniform = draws.uniform(7)
        uniform[:, 6] = 1.0  # never astray
        before, mask = env.tables["state"].clone(), env.action_masks()
        moves = walkers.choose("greedy", env, uniform)
        assert mask.gather(1, moves[:, None]).all()
        gap = before[:, rules.TARGET_X : rules.TARGET_Z + 1] - before[:, rules.X : rules.Z + 1]
        towards = torch.stack([gap > 0, gap < 0], -1).flatten(1)
        planar = (towards & mask)[:, :4].any(1)
        chosen = towards.gather(1, moves[:, None])[:, 0] & (moves < 4)
        assert torch.equal(chosen | ~planar, torch.ones(4, dtype=torch.bool))
        closer += int(chosen.sum())
        env.step(moves)
    assert closer > 60


def test_the_random_walker_makes_allowed_moves_equally_often():
    env = TensorRouting(problems()[:1] * 2000, observation="scaled")
    env.begin()
    moves = walkers.choose("random", env, Draws(range(2000)).uniform(7))
    allowed = env.action_masks()[0].nonzero()[:, 0].tolist()
    share = torch.bincount(moves, minlength=6) / 2000
    assert share[allowed] == pytest.approx([1 / len(allowed)] * len(allowed), abs=0.04)
    assert float(share.sum()) == pytest.approx(float(share[allowed].sum()))


def test_rows_tell_the_best_pass(tmp_path, monkeypatch):
    made = [("p", one) for one in problems()]
    monkeypatch.setattr(walkers, "problem_set", lambda name: ([one for _, one in made], 0))
    bounds = [{"metrics": {"netlist": one.name, "bound": 1}} for _, one in made]
    monkeypatch.setattr(walkers, "netlists", lambda name, folder: bounds)
    rows = walkers.rows_of("any", "greedy", 12, [0, 1], tmp_path, True)
    assert len(rows) == 8
    for row in rows:
        metrics, curve = row["metrics"], row["metrics"]["curve"]
        assert len(curve["routed"]) == 12
        assert metrics["connected"] == max(curve["routed"]) == curve["routed"][metrics["pass"] - 1]
        full = [i for i, routed in enumerate(curve["routed"], 1) if routed == metrics["connections"]]
        assert metrics["first_full"] == (full[0] if full else None)
        if full:
            assert metrics["wirelength"] == min(curve["wirelength"][i - 1] for i in full)
    assert any(row["metrics"]["first_full"] for row in rows)
    write(tmp_path / "rows.jsonl.gz", rows)


def test_unknown_walkers_are_refused():
    with pytest.raises(ValueError, match="walker 'blind' is none of random, greedy"):
        walkers.walk(problems(), "blind", 1, [0] * 4)
