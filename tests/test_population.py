"""Populations of agents: a member is the Stable-Baselines3 agent, and its neighbours do not matter."""

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import optimizers
from agents.config import TrainConfig
from agents.demonstrations import demonstrate
from agents.double_dqn import DoubleDQN, MaskedReplay
from agents.networks import StackedMLP, q_values
from agents.population import Population, clip
from agents.presets import preset
from agents.sb3_vec_env import RoutingVecEnv
from agents.td import double_dqn_target
from agents.training import build
from routing_env.generators.published import published_set

MANY = 5


def problems(count=MANY, seed=3):
    return published_set(count, seed=seed, width=4, height=4, nets=3, capacity=3)


def config(**changes):
    small = {
        "optimizer": "adam", "passes": 8, "learning_starts": 10, "max_steps": 20, "batch": 8, "train_every": 1,
        "observation": "scaled", "reward": "published", "replay": 200, "hidden": (12, 8), "target_every": 7,
    }  # fmt: skip
    return TrainConfig(**small | changes)


def population(places=range(MANY), moves=0, given=None, **changes):
    """Members at some places of five, after some moves."""
    made = problems()
    chosen = config(**changes)
    found = Population([made[i] for i in places], given or chosen, [10 + i for i in places])
    return advanced(found, moves)


def advanced(found, moves):
    for _ in range(moves):
        found.advance()
        found.poll()
    return found


def assert_member(mine, place, other, at):
    """Weights, replay, environment and optimizer memory of two members are equal bit for bit."""
    for one, two in zip([*mine.net.params, *mine.target], [*other.net.params, *other.target], strict=True):
        assert torch.equal(one[place], two[at])
    assert torch.equal(mine.replay.rows[place], other.replay.rows[at])
    for name in mine.env.tables:
        used = min(mine.env.tables[name].shape[1], other.env.tables[name].shape[1])
        if name not in ("log", "connections"):  # as long as the longest netlist beside
            assert torch.equal(mine.env.tables[name][place, :used], other.env.tables[name][at, :used]), name
    assert mine.history[place] == other.history[at]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("masked", [True, False])
def test_a_member_has_the_values_loss_and_gradient_of_the_agent(dtype, tolerance, masked):
    chosen = config(masked=masked, demonstrations=2, initialisation="published")
    found = Population(problems(), chosen, list(range(MANY)), dtype=dtype)
    batch = found.replay.draw(found.draws.uniform(16))
    for place in range(MANY):
        env = RoutingVecEnv([problems()[place]], **chosen.env_options())
        agent = DoubleDQN(
            "MlpPolicy", env, optimizer="torch.adam", masked=masked, net_arch=chosen.hidden, gamma=chosen.gamma,
            loss=chosen.loss, max_grad_norm=chosen.max_grad_norm, seed=0,
        )  # fmt: skip
        agent.policy.to(dtype)
        weights = found.net.member(place)
        agent.policy.q_net.load_state_dict(weights)
        shifted = {name: one * 0.9 for name, one in weights.items()}
        agent.policy.q_net_target.load_state_dict(shifted)
        target_net = [one.clone().mul_(0.9) for one in found.net.params]
        mine = tuple(one[place] for one in batch[:6])
        obs, next_obs, mask, moves, returns, discount = mine
        q = q_values(agent.policy.q_net, obs)
        torch.testing.assert_close(found.net(batch.obs)[place], q, rtol=tolerance, atol=tolerance)
        target = double_dqn_target(
            returns, (discount == 0).to(dtype), q_values(agent.policy.q_net, next_obs),
            q_values(agent.policy.q_net_target, next_obs), agent.gamma, mask if masked else None,
        ).detach()  # fmt: skip
        stacked = double_dqn_target(
            batch.returns, torch.zeros_like(batch.returns), found.net(batch.next_obs),
            found.net(batch.next_obs, target_net), batch.discount, batch.next_mask if masked else None,
        ).detach()  # fmt: skip
        torch.testing.assert_close(stacked[place], target, rtol=tolerance, atol=tolerance)
        loss = agent._closure(obs, moves, target)()
        losses = found.closure(batch, stacked)()
        torch.testing.assert_close(losses[place], loss, rtol=tolerance, atol=tolerance)
        own = dict(agent.policy.q_net.named_parameters())
        for layer in range(len(chosen.hidden) + 1):
            weight, bias = found.net.params[2 * layer].grad, found.net.params[2 * layer + 1].grad
            theirs = own[f"q_net.{2 * layer}.weight"].grad, own[f"q_net.{2 * layer}.bias"].grad
            torch.testing.assert_close(weight[place].t(), theirs[0], rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(bias[place, 0], theirs[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dueling", [False, True])
def test_weights_go_to_the_agent_and_back(dueling):
    net, other = (
        StackedMLP(12, (4, 3), 6, seeds=seeds, initialisation="torch", dueling=dueling) for seeds in ((1, 2), (3, 4))
    )
    env = RoutingVecEnv(problems(1), **config().env_options())
    agent = DoubleDQN("MlpPolicy", env, net_arch=(4, 3), dueling=dueling)
    agent.q_net.load_state_dict(net.member(0))
    obs = torch.randn(5, 12)
    torch.testing.assert_close(q_values(agent.q_net, obs), net(obs.expand(2, 5, 12))[0])
    other.load_member(1, agent.q_net.state_dict())
    for one, two in zip(net.params, other.params, strict=True):
        assert torch.equal(one[0], two[1])
        assert not torch.equal(one[0], two[0])


def test_a_dueling_member_with_returns_and_priorities_learns_what_the_agent_does():
    chosen = config(n_step=3, priority=0.6, dueling=True, demonstrations=2, reward_scale=0.5, batch=32)
    found = Population(problems(), chosen, list(range(MANY)))
    found.target = [one.detach() * 0.9 for one in found.net.params]
    with torch.no_grad():
        for _ in range(3):  # so that priorities differ
            found._learn()
    uniform = found.draws.uniform(32)
    for place in range(MANY):
        agent = build(chosen, problems()[place])
        demonstrate(agent, problems()[place], 2, chosen.env_options())
        assert isinstance(agent.replay_buffer, MaskedReplay)
        ring, count = agent.replay_buffer.ring, int(found.replay.filled[place])
        scaled = ring.rows[0, :count].clone()
        scaled[:, -2] *= 0.5  # the agent scales what it draws
        torch.testing.assert_close(scaled, found.replay.rows[place, :count])
        agent.policy.q_net.load_state_dict(found.net.member(place))
        stacked = StackedMLP(12, chosen.hidden, 6, seeds=[0], dueling=True)
        stacked.params = [one[place : place + 1] for one in found.target]
        agent.policy.q_net_target.load_state_dict(stacked.member(0))
        assert ring.tree is not None
        assert found.replay.tree is not None
        ring.tree.sums.copy_(found.replay.tree.sums[place : place + 1])
        agent.replay_buffer.rng = SimpleNamespace(random=lambda batch, at=place: uniform[at].numpy())
        lesson = agent._lesson(32)
        batch = found.replay.draw(uniform)
        assert torch.equal(lesson.obs, batch.obs[place])
        assert torch.equal(lesson.moves, batch.moves[place])
        assert batch.weights is not None
        assert torch.equal(lesson.weights, batch.weights[place])
        target = double_dqn_target(
            batch.returns, 0.0, found.net(batch.next_obs), found.net(batch.next_obs, found.target), batch.discount,
            batch.next_mask,
        ).detach()  # fmt: skip
        torch.testing.assert_close(lesson.target, target[place], rtol=1e-5, atol=1e-5)
        q = found.net(batch.obs)
        torch.testing.assert_close(q_values(agent.q_net, lesson.obs), q[place], rtol=1e-5, atol=1e-5)
        loss, losses = agent._closure(*lesson)(), found.closure(batch, target)()
        torch.testing.assert_close(loss, losses[place], rtol=1e-5, atol=1e-5)
        own = dict(agent.q_net.named_parameters())
        for layer in range(len(chosen.hidden) + 1):
            weight, bias = found.net.params[2 * layer].grad, found.net.params[2 * layer + 1].grad
            theirs = own[f"q_net.{2 * layer}.weight"].grad, own[f"q_net.{2 * layer}.bias"].grad
            torch.testing.assert_close(weight[place].t(), theirs[0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(bias[place, 0], theirs[1], rtol=1e-5, atol=1e-5)
        errors = q.detach().gather(-1, batch.moves[..., None]).squeeze(-1) - target
        sums = found.replay.tree.sums.clone()
        found.replay.learn_priorities(batch.places, errors)
        torch.testing.assert_close(ring.tree.sums[0], found.replay.tree.sums[place], rtol=1e-5, atol=1e-5)
        found.replay.tree.sums.copy_(sums)


def test_dueling_values_are_value_plus_centred_advantage():
    net = StackedMLP(5, (4,), 6, seeds=(1, 2), dueling=True)
    plain = StackedMLP(5, (4,), 7, seeds=(1, 2))
    obs = torch.randn(2, 3, 5)
    both = plain(obs)
    torch.testing.assert_close(net(obs).mean(-1), both[..., 6])
    torch.testing.assert_close(net(obs).diff(dim=-1), both[..., :6].diff(dim=-1))


OPTIMIZERS = ("adam", "rmsprop", "sgd", "olbfgs", "olnaq", "olmoq", "adaqn", "asnaq")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_neighbours_do_not_matter_bit_for_bit(optimizer):
    moves = 60
    whole = population(moves=moves, optimizer=optimizer)
    order = (3, 0, 4, 2, 1)
    permuted = population(order, moves, optimizer=optimizer)
    for at, place in enumerate(order):
        assert_member(whole, place, permuted, at)
    fewer = population((1, 4), moves, optimizer=optimizer)
    for at, place in enumerate((1, 4)):
        assert_member(whole, place, fewer, at)


@pytest.mark.parametrize("optimizer", ["adam", "olmoq", "asnaq"])
@pytest.mark.parametrize("changes", [{}, {"n_step": 3, "priority": 0.6, "dueling": True}, {"target_connections": 2}])
def test_members_that_go_on_without_the_others_do_as_before(optimizer, changes):
    whole = population(moves=60, optimizer=optimizer, **changes)
    kept = population(moves=33, optimizer=optimizer, **changes)
    kept.keep([4, 1, 2])
    advanced(kept, 27)
    for at, place in enumerate((4, 1, 2)):
        assert_member(whole, place, kept, at)


@pytest.mark.parametrize("optimizer", ["adam", "olmoq", "asnaq"])
@pytest.mark.parametrize("changes", [{}, {"n_step": 3, "priority": 0.6, "dueling": True, "demonstrations": 2}])
def test_a_population_goes_on_from_its_state(optimizer, changes):
    whole = population(moves=33, optimizer=optimizer, **changes)
    again = population(optimizer=optimizer, **changes)
    state = whole.state_dict()
    again.load_state_dict(state)
    advanced(whole, 20)
    advanced(again, 20)
    for place in range(MANY):
        assert_member(whole, place, again, place)


def test_learning_rates_belong_to_members():
    rates = [1e-3, 1e-2, 1e-3, 1e-4, 1e-3]
    made = problems()
    both = Population(made, config(), [10 + i for i in range(MANY)], learning_rates=rates)
    advanced(both, 40)
    plain = population(moves=40, learning_rate=1e-3)
    for place, rate in enumerate(rates):
        same = all(torch.equal(a[place], b[place]) for a, b in zip(both.net.params, plain.net.params, strict=True))
        assert same == (rate == 1e-3)


@pytest.mark.parametrize("changes", [{"target_every": 5, "tau": 1.0}, {"target_connections": 2, "tau": 0.3}])
def test_targets_move_when_they_are_due(changes):
    found = population(**changes)
    connections = np.zeros(MANY, int)
    for move in range(1, 60):
        before = [one.clone() for one in found.target]
        online = [one.detach().clone() for one in found.net.params]
        found.advance()
        ended = (found.env.flags > 1).numpy()
        if "target_every" in changes:
            due = np.full(MANY, move % 5 == 0)
        else:
            due = (connections + ended) // 2 > connections // 2
            connections += ended
        for old, new, now in zip(before, online, found.target, strict=True):
            share = torch.tensor(due * changes["tau"], dtype=torch.float32)[:, None, None]
            torch.testing.assert_close(now, old + share * (new - old), rtol=1e-6, atol=1e-6)


def test_updates_begin_after_the_first_moves_and_come_as_often_as_asked():
    found = population(learning_starts=10, train_every=3, updates=2)
    made = []
    for _ in range(20):
        found.advance()
        made.append(found.updates)
    assert made == [2 * max(0, m // 3 - 3) for m in range(1, 21)]


def test_gradients_are_clipped_as_torch_clips_one_network():
    generator = torch.Generator().manual_seed(0)
    stacked = [torch.zeros(3, *shape, requires_grad=True) for shape in ((4, 2), (1, 2))]
    for one in stacked:
        one.grad = torch.randn(one.shape, generator=generator) * torch.tensor([0.1, 10.0, 1.0])[:, None, None]
    alone = []
    for member in range(3):
        mine = [torch.zeros(one.shape[1:], requires_grad=True) for one in stacked]
        for own, one in zip(mine, stacked, strict=True):
            own.grad = one.grad[member].clone()
        torch.nn.utils.clip_grad_norm_(mine, 2.0)
        alone.append(mine)
    clip(stacked, 2.0)
    for member, (k, one) in itertools.product(range(3), enumerate(stacked)):
        torch.testing.assert_close(one.grad[member], alone[member][k].grad)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("observation", "published"), ("reward", "published"), ("reward_scale", 1.0), ("max_steps", 50),
        ("via_capacity", 10), ("hidden", (32, 64, 32)), ("initialisation", "published"), ("loss", "published"),
        ("gamma", 0.9), ("epsilon_start", 0.05), ("epsilon_end", 0.05), ("batch", 32), ("replay", 50_000),
        ("train_every", 1), ("updates", 1), ("tau", 0.05), ("target_connections", 10), ("masked", False),
        ("final_rate", 1.0), ("passes", 500), ("n_step", 1), ("priority", 0.0), ("dueling", False),
    ],
)  # fmt: skip
def test_the_published_preset_is_the_published_study(change, value):
    assert getattr(preset("published", "adam"), change) == value


def test_the_published_preset_knows_the_settings_of_its_optimizers():
    assert preset("published", "adam").learning_rate == preset("published", "torch.rmsprop").learning_rate == 1e-4
    options = preset("published", "asnaq").optimizer_options
    defaults = optimizers.default_options("asnaq")
    assert {name: defaults[name] for name in options} == options  # the class's defaults are those of this study
    assert preset("published", "olmoq").learning_rate is None
    replay = Population(published_set(2, seed=0), preset("published", "adam"), [0, 1]).replay
    assert (replay.filled > 8_000).all()


def test_the_learning_rate_is_given_once():
    given = population(option=("lr=0.02",))
    assert given.first_rates.tolist() == pytest.approx([0.02] * MANY)
    with pytest.raises(ValueError, match="give the learning rate once"):
        population(option=("lr=0.02",), learning_rate=0.01)


def test_unknown_presets_are_refused():
    with pytest.raises(ValueError, match="no preset 'publishd'; did you mean 'published'"):
        preset("publishd")


def test_optimizers_of_one_network_are_refused_with_what_to_take_instead():
    with pytest.raises(ValueError, match=r"'torch.adam' moves one network at a time, not a population; take 'adam'"):
        population(optimizer="torch.adam")
    with pytest.raises(ValueError, match="'olmoq_mb' needs sub-batches"):
        population(optimizer="olmoq_mb")


def stochastic_names():
    from training import in_populations, needs_model, residuals, stochastic

    names = [name for name in optimizers.names() if not name.startswith("torch.")]
    return [n for n in names if stochastic(n) and in_populations(n) and not needs_model(n) and not residuals(n)
            and n not in ("l2l", "hierarchical", "olmoq_mb")]  # fmt: skip


@pytest.mark.parametrize("optimizer", stochastic_names())
def test_every_stochastic_optimizer_trains_a_population(optimizer):
    found = population(moves=25, optimizer=optimizer)
    assert found.updates == 15
    first = StackedMLP(12, (12, 8), 6, seeds=found.seeds)
    assert all(torch.isfinite(one).all() for one in found.net.params)
    assert any(not torch.equal(a, b) for a, b in zip(found.net.params, first.params, strict=True))


def test_settings_of_the_run_do_not_change_a_member():
    a = population(moves=30, given=config())
    b = population(moves=30, given=dataclasses.replace(config(), netlist="published:7", seed=9, environments=3))
    for place in range(MANY):
        assert_member(a, place, b, place)
