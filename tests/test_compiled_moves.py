"""What is compiled for a population's moves gives the numbers of the forms in torch, to the bit."""

import pytest
import torch

from agents import compiled_moves
from agents.draws import Draws
from agents.replay import Replay
from agents.td import choose
from routing_env import rules

pytestmark = pytest.mark.usefixtures("one_thread")


def test_numbers_are_those_drawn_in_torch(monkeypatch):
    calls, own = [], compiled_moves.uniform
    monkeypatch.setattr(compiled_moves, "uniform", lambda *args: calls.append(args) or own(*args))
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        draws = Draws([0, 1, 2, 77, 2**40])
        found.append(torch.cat([draws.uniform(count) for count in (2, 32, 1, 5)], 1))
        assert int(draws.counter) == 40
    assert len(calls) == 4, "those of one thread"
    assert torch.equal(*found)
    assert found[0].unique().numel() == 5 * 40


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_moves_are_those_chosen_in_torch(dtype, masked):
    generator = torch.Generator().manual_seed(4)
    many = 600
    q = torch.randn(many, 6, generator=generator, dtype=dtype)
    q[:40] = 1.0  # ties
    q[40:80, 3] = torch.nan
    q[80:90] = -torch.inf
    mask = (torch.rand(many, 6, generator=generator) > 0.4).to(torch.int8)
    mask[5], mask[100:120] = 0, 0  # nothing is allowed
    explore = torch.rand(many, generator=generator) > 0.5
    draws = torch.rand(many, generator=generator, dtype=torch.float64)
    draws[200], draws[201] = 0.0, 1 - 2.0**-53
    allowed = mask if masked else None
    assert torch.equal(compiled_moves.choose(q, allowed, explore, draws), choose(q, allowed, explore, draws))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_those_that_the_replay_puts_together(dtype):
    generator = torch.Generator().manual_seed(5)
    many, entries = 40, 7
    obs, following, final = (torch.randn(many, entries, generator=generator) for _ in range(3))
    masks = [(torch.rand(many, 6, generator=generator) > 0.4).to(torch.int8) for _ in range(2)]
    moves = torch.randint(0, 6, (many,), generator=generator)
    gains = torch.randn(many, generator=generator, dtype=torch.float64)
    flags = torch.arange(many) % 16
    ended, made = flags > rules.BLOCKED, (flags & rules.ARRIVED) > 0
    assert 0 < int(made.sum()) < int(ended.sum()) < many
    by_add, by_put = (Replay(many, 4, entries, gamma=0.9, n_step=2, dtype=dtype) for _ in range(2))
    for turn in range(3):
        next_obs = torch.where(ended[:, None], final, following)
        next_mask = torch.where(ended[:, None], masks[1], masks[0])
        by_add.add(obs.to(dtype), moves, gains * 0.1, next_obs, next_mask, made, ended)
        rows, over = compiled_moves.rows(
            obs.to(dtype), moves, gains, 0.1, 0.9, flags, following, masks[0], final, masks[1]
        )
        assert torch.equal(over, ended)
        by_put.put(rows, over)
        obs, following = following, obs + turn
    assert torch.equal(by_add.rows, by_put.rows)
    assert by_add.rows.count_nonzero() > 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("priority", [0.0, 0.6])
def test_transitions_are_those_drawn_in_torch(dtype, priority, monkeypatch):
    generator = torch.Generator().manual_seed(6)
    many, entries, environments = 3, 5, 2
    replay = Replay(many, 12, entries, gamma=0.9, environments=environments, priority=priority, dtype=dtype)
    for _ in range(5):
        rows = torch.randn(many * environments, replay.width, generator=generator, dtype=dtype)
        rows[:, -3] = torch.randint(0, 6, (many * environments,), generator=generator).to(dtype)
        replay.put(rows, torch.zeros(many * environments, dtype=torch.bool))
    uniform = torch.rand(many, 30, generator=generator, dtype=torch.float64)
    calls, own = [], compiled_moves.drawn
    monkeypatch.setattr(compiled_moves, "drawn", lambda *args: calls.append(args) or own(*args))
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(replay.draw(uniform))
    assert len(calls) == 1, "in one thread"
    for mine, theirs in zip(*found, strict=True):
        assert (mine is None and theirs is None) or (mine.dtype == theirs.dtype and torch.equal(mine, theirs))
    assert found[0].places.unique().numel() > 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_progress_is_that_in_torch(dtype):
    state = torch.zeros(9, 40, dtype=torch.int64)
    state[:, rules.PASSES] = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8, 100])
    expected = (state[:, rules.PASSES].to(dtype) / 7).clamp_(max=1.0)
    assert torch.equal(compiled_moves.progress(state, 7, dtype), expected)
