"""Replay of many members: returns over several moves, draws in proportion to priorities, streams of random numbers."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.draws import Draws
from agents.replay import Replay, SumTree

GAMMA = 0.9


def play(replay, members, moves, seed=0):
    """Put random transitions in; returns them, a list of one record a move."""
    generator = torch.Generator().manual_seed(seed)
    entries, told = replay.entries, []
    for _ in range(moves):
        ended = torch.rand(members, generator=generator) < 0.3
        one = SimpleNamespace(
            obs=torch.randn(members, entries, generator=generator),
            moves=torch.randint(0, 6, (members,), generator=generator),
            rewards=torch.randn(members, generator=generator),
            next_obs=torch.randn(members, entries, generator=generator),
            next_mask=torch.randint(0, 2, (members, 6), generator=generator, dtype=torch.int8),
            ended=ended,
            made=ended & (torch.rand(members, generator=generator) < 0.5),
        )
        replay.add(one.obs, one.moves, one.rewards, one.next_obs, one.next_mask, one.made, one.ended)
        told.append(one)
    return told


def expected(told, member, t, n):
    """Return, discount, next obs and next mask of move t, from the definition."""
    total, k = 0.0, 0
    while True:
        one = told[t + k]
        total += GAMMA**k * float(one.rewards[member])
        last = one.ended[member] or k + 1 == n or t + k + 1 == len(told)
        if last:
            discount = 0.0 if one.made[member] else GAMMA ** (k + 1)
            return total, discount, one.next_obs[member], one.next_mask[member]
        k += 1


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 5), capacity=st.integers(5, 40), moves=st.integers(1, 60), seed=st.integers(0, 99),
    environments=st.integers(1, 3),
)  # fmt: skip
def test_a_row_is_the_return_over_as_many_moves_of_its_connection_as_are_known(n, capacity, moves, seed, environments):
    replay = Replay(3, capacity * environments, 4, gamma=GAMMA, n_step=n, environments=environments)
    told = play(replay, 3 * environments, moves, seed)
    for t in range(max(0, moves - capacity), moves):
        for one in range(3 * environments):
            member, environment = divmod(one, environments)
            row = replay.rows[member, t % capacity * environments + environment]
            total, discount, next_obs, next_mask = expected(told, one, t, n)
            assert torch.equal(row[:4], told[t].obs[one])
            assert torch.equal(row[4:8], next_obs)
            assert torch.equal(row[8:14], next_mask.float())
            assert row[14] == told[t].moves[one]
            torch.testing.assert_close(row[15:], torch.tensor([total, discount]), rtol=1e-5, atol=1e-5)
    assert replay.filled.tolist() == [min(moves, capacity) * environments] * 3


def test_a_member_of_several_environments_keeps_its_transitions_when_the_others_go():
    both = Replay(2, 12, 3, gamma=GAMMA, n_step=2, priority=0.5, environments=2)
    alone = Replay(1, 12, 3, gamma=GAMMA, n_step=2, priority=0.5, environments=2)
    told = play(both, 4, 9)
    both.keep(torch.tensor([1]))
    for one in told:
        alone.add(one.obs[2:], one.moves[2:], one.rewards[2:], one.next_obs[2:], one.next_mask[2:], one.made[2:],
                  one.ended[2:])  # fmt: skip
    for name in ("rows", "position", "filled", "age", "_first"):
        assert torch.equal(getattr(both, name), getattr(alone, name)), name
    assert both.tree is not None
    assert torch.equal(both.tree.sums, alone.tree.sums)
    assert both.tree.values(torch.arange(16)[None]).tolist() == [[1.0] * 12 + [0.0] * 4]


def test_a_ring_that_does_not_fit_its_environments_is_refused():
    with pytest.raises(ValueError, match="a replay of 10 is not a multiple of 3 environments"):
        Replay(1, 10, 3, gamma=GAMMA, environments=3)
    with pytest.raises(ValueError, match=r"belongs to 2 environments; put transitions in with add\(\)"):
        Replay(1, 10, 3, gamma=GAMMA, environments=2).fill(0, torch.zeros(2, 15))


def test_draws_are_rows_of_the_member_that_are_filled():
    replay = Replay(2, 10, 3, gamma=GAMMA)
    told = play(replay, 2, 7)
    uniform = ((torch.arange(14) + 0.5) / 14).double().repeat(2, 1)
    batch = replay.draw(uniform)
    assert batch.places.tolist() == [[t for t in range(7) for _ in range(2)]] * 2
    for member in range(2):
        for b, t in enumerate(batch.places[member].tolist()):
            assert torch.equal(batch.obs[member, b], told[t].obs[member])
            assert batch.moves[member, b] == told[t].moves[member]
    assert batch.weights is None


def test_sum_trees_find_leaves_in_proportion_to_their_values():
    tree = SumTree(2, 5)
    values = torch.tensor([[1.0, 0.0, 2.0, 3.0, 4.0], [5.0, 1.0, 0.0, 0.0, 4.0]])
    tree.set(torch.arange(5).repeat(2, 1), values)
    assert tree.total().tolist() == [[10.0], [10.0]]
    found = tree.find((torch.arange(10) + 0.5).double().repeat(2, 1))
    assert found.tolist() == [[0, 2, 2, 3, 3, 3, 4, 4, 4, 4], [0] * 5 + [1] + [4] * 4]
    tree.set(torch.tensor([[3], [0]]), torch.tensor([[0.0], [0.5]]))
    assert tree.total().tolist() == [[7.0], [5.5]]
    assert tree.find(torch.tensor([[6.999], [0.49]]).double()).tolist() == [[4], [0]]


def test_priorities_decide_what_is_drawn_and_weights_correct_for_it():
    replay = Replay(1, 8, 2, gamma=GAMMA, priority=1.0, correction=1.0)
    play(replay, 1, 4)
    replay.learn_priorities(torch.arange(4)[None], torch.tensor([[1.0, 3.0, 0.0, 0.0]]))
    batch = replay.draw(Draws([0]).uniform(20_000))
    share = torch.bincount(batch.places[0], minlength=4) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.25, 0.75, 0.0, 0.0]), atol=0.02, rtol=0)
    # the mean of weights times drawn values is in proportion to the plain mean: weight x share is constant
    first, second = (float(batch.weights[0][batch.places[0] == place][0]) for place in (0, 1))
    assert first / second == pytest.approx(3.001 / 1.001, rel=1e-4)


def test_filling_equals_adding():
    added, filled = (Replay(2, 9, 3, gamma=GAMMA, priority=0.5) for _ in range(2))
    play(added, 2, 5)
    for member in range(2):
        filled.fill(member, added.rows[member, :5])
    for name in ("rows", "position", "filled"):
        assert torch.equal(getattr(added, name), getattr(filled, name))
    assert torch.equal(added.tree.sums[:, 1:], filled.tree.sums[:, 1:])
    with pytest.raises(ValueError, match="5 transitions do not fit into an empty ring of 9"):
        filled.fill(0, added.rows[0, :5])


def test_a_return_longer_than_the_ring_is_refused():
    with pytest.raises(ValueError, match="n_step 5 is larger than the replay of 4"):
        Replay(1, 4, 2, gamma=GAMMA, n_step=5)


def test_streams_are_splitmix64():
    def mix(x):
        mask = 2**64 - 1
        x &= mask
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    draws = Draws([0, 7])
    found = torch.cat([draws.uniform(3), draws.uniform(2)], 1)
    for member, seed in enumerate((0, 7)):
        key = mix((seed + 1) * golden)
        assert found[member].tolist() == [(mix(key + i * golden) >> 11) * 2.0**-53 for i in range(1, 6)]


def test_streams_do_not_depend_on_neighbours():
    many, one = Draws([3, 1, 2]), Draws([1])
    assert torch.equal(many.uniform(50)[1], one.uniform(50)[0])
    many.keep(torch.tensor([1]))
    assert torch.equal(many.uniform(5), one.uniform(5))
