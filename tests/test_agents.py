"""Double-DQN arithmetic by hand, and the agent that hands its optimizer a closure."""

import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from boards import drawn
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import optimizers
from agents.config import TrainConfig, parse_options, problem_of
from agents.demonstrations import demonstrate, demonstration_rows, moves_of, transitions
from agents.double_dqn import DoubleDQN, MaskedReplay
from agents.networks import RoutingPolicy, initialise, q_values
from agents.sb3_vec_env import RoutingVecEnv
from agents.td import choose, double_dqn_target, forbid, linear, td_loss
from routing_env import Layer, Net, Problem
from routing_env.generators.published import published
from routing_env.grid import grid_of
from routing_env.gym_env import GlobalRouting
from routing_env.routers import astar
from routing_env.wrappers import ConnectionEpisodes

MASK = torch.tensor([[1, 1, 1], [1, 0, 1]], dtype=torch.int8)


def netlist(seed=1, **options):
    return published(**{"seed": seed, "width": 4, "height": 4, "nets": 4, "capacity": 3} | options)


def agent_on(problems, *, env_options=None, **options):
    env = RoutingVecEnv(problems, observation="scaled", max_steps=12, **(env_options or {}))
    plain = {"seed": 0, "learning_starts": 20, "batch_size": 16, "buffer_size": 500, "train_freq": 2, "device": "cpu"}
    return DoubleDQN("MlpPolicy", env, **plain | options)


def stored(agent):
    """The transitions in the replay, as they came: first axis move, second environment."""
    replay = agent.replay_buffer
    rows = replay.ring.rows[0].view(replay.buffer_size, replay.n_envs, -1)[: replay.size()]
    return replay.ring.batch(rows, torch.zeros(0), None)


def weights(agent):
    return {name: value.clone() for name, value in agent.policy.state_dict().items()}


# ---- td


def test_the_target_takes_the_online_networks_move_and_the_target_networks_value():
    online = torch.tensor([[1.0, 5.0, 2.0], [1.0, 5.0, 2.0]])
    target = torch.tensor([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]])
    reward, ended = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])
    assert double_dqn_target(reward, ended, online, target, 0.5).tolist() == [1 + 10, 2 + 25]
    # the mask forbids the second state's best move
    assert double_dqn_target(reward, ended, online, target, 0.5, MASK).tolist() == [1 + 10, 2 + 30]


def test_only_a_true_end_stops_the_bootstrap():
    q = torch.tensor([[0.0, 8.0, 0.0]] * 2)
    ended = torch.tensor([1.0, 0.0])
    assert double_dqn_target(torch.tensor([3.0, 3.0]), ended, q, q, torch.tensor([0.5, 0.25])).tolist() == [3, 5]


def test_leading_member_axes_give_what_each_member_gives_alone():
    rng = torch.Generator().manual_seed(0)

    def drawn_(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    online, target, q = drawn_(2, 3, 5, 6), drawn_(2, 3, 5, 6), drawn_(2, 3, 5, 6)
    reward, moves = drawn_(2, 3, 5), torch.randint(6, (2, 3, 5), generator=rng)
    ended = (drawn_(2, 3, 5) > 0).double()
    mask = (drawn_(2, 3, 5, 6) > -1).to(torch.int8)
    mask[..., 0] = 1
    explore, draws = drawn_(2, 3, 5) > 0, torch.rand(2, 3, 5, generator=rng)
    together = double_dqn_target(reward, ended, online, target, 0.9, mask)
    chosen = choose(q, mask, explore, draws)
    for kind in ("huber", "squared", "published"):
        losses = td_loss(q, moves, together, kind)
        assert losses.shape == (2, 3)
        for i, j in np.ndindex(2, 3):
            at = i, j
            alone = double_dqn_target(reward[at], ended[at], online[at], target[at], 0.9, mask[at])
            assert torch.equal(together[at], alone)
            assert torch.equal(losses[at], td_loss(q[at], moves[at], alone, kind))
            assert torch.equal(chosen[at], choose(q[at], mask[at], explore[at], draws[at]))


def test_the_losses_are_those_of_torch():
    q = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    moves, target = torch.tensor([1, 2]), torch.tensor([1.5, 9.0])
    # errors -0.5 and -4
    assert td_loss(q, moves, target).item() == pytest.approx((0.125 + 3.5) / 2)
    assert td_loss(q, moves, target, "squared").item() == pytest.approx((0.25 + 16) / 2)
    whole = q.clone()
    whole[torch.arange(2), moves] = target
    assert td_loss(q, moves, target, "published").item() == pytest.approx(torch.nn.functional.mse_loss(q, whole).item())
    made = q.gather(1, moves[:, None])[:, 0]
    assert td_loss(q, moves, target).item() == pytest.approx(torch.nn.functional.smooth_l1_loss(made, target).item())
    with pytest.raises(ValueError, match="loss 'hubert' is none of huber, squared, published"):
        td_loss(q, moves, target, "hubert")


def test_greedy_moves_are_the_best_allowed_ones():
    q, no = torch.tensor([[1.0, 5.0, 2.0]] * 2), torch.tensor([False, False])
    draws = torch.tensor([0.99, 0.99])
    assert choose(q, None, no, draws).tolist() == [1, 1]
    assert choose(q, MASK, no, draws).tolist() == [1, 2]
    assert choose(-torch.ones(1, 3) * torch.inf, torch.tensor([[0, 0, 1]]), no[:1], draws[:1]).tolist() in ([0], [2])
    assert forbid(q, MASK)[1].tolist() == [1, -np.inf, 2]
    assert forbid(q, None) is q


def test_random_moves_are_uniform_over_the_allowed_ones():
    many = 6000
    draws = torch.arange(many, dtype=torch.float64) / many
    for mask in ([1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]):
        q = torch.randn(1, 6).expand(many, 6)
        moves = choose(q, torch.tensor([mask]).expand(many, 6), torch.ones(many, dtype=torch.bool), draws)
        expected = [many // sum(mask) * allowed for allowed in mask]
        assert torch.bincount(moves, minlength=6).tolist() == expected
    unmasked = choose(torch.randn(many, 6), None, torch.ones(many, dtype=torch.bool), draws)
    assert torch.bincount(unmasked).tolist() == [many // 6] * 6


def test_a_schedule_goes_from_start_to_end_and_stays():
    assert [linear(1.0, 0.2, 0.5, at) for at in (0, 0.25, 0.5, 1)] == pytest.approx([1, 0.6, 0.2, 0.2])
    assert linear(1.0, 0.2, 0.0, 0.0) == 0.2


# ---- the network


def test_q_values_are_what_stable_baselines_network_gives():
    agent = agent_on([netlist()])
    obs = torch.from_numpy(agent.env.reset()).repeat(7, 1) + torch.randn(7, 12)
    assert torch.equal(q_values(agent.policy.q_net, obs), agent.policy.q_net(obs))
    sizes = [tuple(layer.weight.shape) for layer in agent.policy.q_net.q_net if hasattr(layer, "weight")]
    assert sizes == [(32, 12), (64, 32), (32, 64), (6, 32)]


def test_first_weights_are_drawn_as_named_and_the_target_starts_as_a_copy():
    for kind, spread in (("published", 0.5), ("he", None), ("torch", None)):
        agent = agent_on([netlist()], initialisation=kind)
        state = agent.policy.state_dict()
        for name, value in agent.policy.q_net.state_dict().items():
            assert torch.equal(value, state[f"q_net_target.{name}"])
        first = state["q_net.q_net.2.weight"]
        biases = torch.cat([value for name, value in state.items() if name.endswith("bias")])
        assert (biases == 0).all() == (kind != "torch")
        if spread:
            assert first.abs().max() <= spread
            assert first.std() == pytest.approx(1 / 12**0.5, rel=0.1)
        if kind == "he":
            assert first.std() == pytest.approx((2 / 32) ** 0.5, rel=0.1)
    with pytest.raises(ValueError, match="initialisation 'xavier' is none of he, published, torch"):
        initialise(agent.policy, "xavier")


# ---- the optimizers by name


def test_names_pick_and_make_agree():
    assert "torch.adam" in optimizers.names()
    assert optimizers.pick("torch.adam") is torch.optim.Adam
    made = optimizers.make("torch.sgd", [torch.zeros(2, requires_grad=True)], lr=0.5)
    assert isinstance(made, torch.optim.SGD)
    assert made.param_groups[0]["lr"] == 0.5
    assert optimizers.default_lr("torch.adam") == 1e-3


def test_an_unknown_optimizer_or_option_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"no optimizer 'torch.adm'; did you mean 'torch.adam'"):
        agent_on([netlist()], optimizer="torch.adm")
    with pytest.raises(TypeError, match=r"torch.adam has no option 'beta'; did you mean 'betas'"):
        agent_on([netlist()], optimizer_options={"beta": 1})
    with pytest.raises(ValueError, match="did you mean"):
        TrainConfig(optimizer="torch.sdg")
    with pytest.raises(TypeError, match=r"torch\.sgd has no option"):
        TrainConfig(optimizer="torch.sgd", option=("momentun=0.9",))


def test_the_learning_rate_is_the_optimizers_own_unless_one_is_given():
    for name in ("torch.adam", "torch.rmsprop", "torch.sgd", "torch.lbfgs"):
        group = agent_on([netlist()], optimizer=name).policy.optimizer.param_groups[0]
        assert group["lr"] == optimizers.default_lr(name)
    given = [
        agent_on([netlist()], learning_rate=0.25),
        agent_on([netlist()], optimizer_options={"lr": 0.25}),
    ]
    for agent in given:
        agent.learn(30)
        assert agent.policy.optimizer.param_groups[0]["lr"] == 0.25


def test_options_reach_the_optimizer():
    group = agent_on([netlist()], optimizer_options={"betas": (0.5, 0.6)}).policy.optimizer.param_groups[0]
    assert group["betas"] == (0.5, 0.6)
    assert parse_options(["lr=0.5", "betas=(0.5, 0.6)", "line-search-fn=strong_wolfe"]) == {
        "lr": 0.5, "betas": (0.5, 0.6), "line_search_fn": "strong_wolfe",
    }  # fmt: skip
    with pytest.raises(ValueError, match="option 'lr' is not NAME=VALUE"):
        parse_options(["lr"])


# ---- training


def filled(agent, moves=60):
    agent.learning_starts = 10**9
    agent.learn(moves)
    return agent


def test_the_closure_gives_loss_and_gradient_at_the_current_weights():
    agent = filled(agent_on([netlist()], loss="squared", max_grad_norm=np.inf))
    batch = agent.replay_buffer.draw(32)
    obs, moves, net = batch.obs, batch.moves, agent.policy.q_net
    ended, mask = (batch.discount == 0).float(), batch.next_mask
    after = net(batch.next_obs), agent.policy.q_net_target(batch.next_obs)
    target = double_dqn_target(batch.returns, ended, *after, 0.99, mask).detach()
    lesson = agent._lesson(32)
    drawn = double_dqn_target(batch.returns, 0.0, *after, batch.discount, mask)
    assert torch.equal(drawn, target)
    assert lesson.weights is None
    assert lesson.target.shape == (32,)
    closure = agent._closure(obs, moves, target)
    parameters = list(net.parameters())
    for _ in range(2):
        loss = closure()
        expected = ((net(obs).gather(1, moves[:, None])[:, 0] - target) ** 2).mean()
        assert loss.item() == pytest.approx(expected.item())
        assert not loss.requires_grad
        gradients = torch.autograd.grad(expected, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            assert torch.allclose(parameter.grad, gradient, atol=1e-6)
        with torch.no_grad():  # as an optimizer does that evaluates the loss elsewhere
            for parameter in parameters:
                parameter.add_(0.01 * torch.randn_like(parameter))
    for parameter in parameters:
        parameter.grad = None
    loss = closure(backward=False)
    assert loss.item() == closure().item()
    loss = closure(backward=False)
    assert all(parameter.grad is None for parameter in parameters)
    gradients = torch.autograd.grad(loss, parameters)  # the loss is on its graph
    closure()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_gradients_are_clipped_inside_the_closure():
    agent = filled(agent_on([netlist()], max_grad_norm=0.01))
    batch = agent.replay_buffer.draw(32)
    agent._closure(batch.obs, batch.moves, torch.full((32,), 50.0))()
    norm = torch.cat([p.grad.flatten() for p in agent.policy.q_net.parameters()]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)


class Recorder(torch.optim.SGD):
    """Evaluates its closure at three places, the weights moved in between."""

    def step(self, closure):
        losses = []
        for _ in range(3):
            losses.append(float(closure()))
            super().step()
        self.seen = [*getattr(self, "seen", []), losses]


def test_the_target_stays_fixed_while_the_closure_is_evaluated(monkeypatch):
    agent = filled(agent_on([netlist()], loss="squared", policy_kwargs={"optimizer_class": Recorder}))
    targets = []

    def noted(*arguments):
        targets.append(double_dqn_target(*arguments))
        return targets[-1]

    monkeypatch.setattr("agents.double_dqn.double_dqn_target", noted)
    agent.train(5, 32)
    assert len(targets) == len(agent.policy.optimizer.seen) == 5, "one target a batch, three evaluations each"
    assert all(not target.requires_grad for target in targets)
    assert agent._n_updates == 5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("torch.lbfgs", {"max_iter": 3}),
        ("torch.lbfgs", {"line_search_fn": "strong_wolfe", "max_iter": 4}),
        ("torch.rmsprop", {}),
        ("torch.sgd", {"momentum": 0.9, "nesterov": True}),
        ("asnaq", {}),
        ("olmoq", {"schedule": "constant"}),
        ("adaqn", {}),
        ("lbfgs", {"line_search": "armijo"}),
        ("sqn", {"L": 5}),
        ("newton_cg", {"cg_max": 3}),
        ("hessian_free", {"product": "hessian", "cg_max": 3}),
        ("slsr1", {}),
    ],
)
def test_every_kind_of_optimizer_trains(name, options):
    agent = agent_on([netlist()] * 2, optimizer=name, optimizer_options=options, learning_rate=0.01, gradient_steps=2)
    before = weights(agent)
    agent.learn(200)
    after = weights(agent)
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert agent._n_updates > 20


def test_gradients_of_another_batch_are_not_taken_for_this_ones():
    assert agent_on([netlist()], optimizer="lbfgs").policy.optimizer.option("reuse") is False
    asked = agent_on([netlist()], optimizer="lbfgs", optimizer_options={"reuse": True})
    assert asked.policy.optimizer.option("reuse") is True
    agent = agent_on([netlist()], optimizer="lbfgs", gradient_steps=2)
    agent.learn(100)
    counters = agent.policy.optimizer.counters()
    assert counters["n_gradients"] >= 2 * counters["k"] > 20, "the first gradient of every step is its own"


def test_the_same_seed_gives_the_same_agent_and_another_seed_another():
    def run(seed):
        agent = agent_on([netlist()], seed=seed)
        agent.learn(150)
        return weights(agent), agent.history

    (one, history), (two, history2), (other, _) = run(3), run(3), run(4)
    assert history == history2
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_history_holds_the_passes_and_exploration_goes_by_them():
    agent = agent_on([netlist()], passes=4, exploration_initial_eps=1.0, exploration_final_eps=0.0,
                     exploration_fraction=0.5)  # fmt: skip
    agent.learn(20)
    while len(agent.history) < 4:
        agent.learn(20, reset_num_timesteps=False)
        expected = max(0.0, 1.0 - 2 * len(agent.history) / 4)
        assert agent.exploration_rate == pytest.approx(expected)
    assert [row["pass"] for row in agent.history] == list(range(1, len(agent.history) + 1))
    assert set(agent.history[0]) == {"pass", "routed", "wirelength", "overflow", "environment", "reward"}


def test_the_target_network_moves_every_so_many_connections():
    agent = agent_on([netlist()], target_connections=3, tau=1.0)
    agent.learn(1)
    moved_at, before = [], weights(agent)
    for _ in range(150):
        agent.learn(1, reset_num_timesteps=False)
        after = weights(agent)
        if any(not torch.equal(before[name], after[name]) for name in after if "target" in name):
            moved_at.append(agent.connections_ended)
            assert agent.connections_ended // 3 == agent.target_moves
        before = after
    assert len(moved_at) > 2
    assert all(count % 3 == 0 for count in moved_at)


# ---- masks


def moves_made(agent, moves):
    """Play; what was allowed before each move, and the move."""
    env, seen = agent.env, []
    step = env.step_async

    def noted(actions):
        seen.extend(zip(env.action_masks().copy(), actions, strict=True))
        step(actions)

    env.step_async = noted
    agent.learn(moves)
    return seen


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_a_masked_agent_never_makes_a_masked_move(epsilon):
    agent = agent_on([netlist(), netlist(2)], exploration_initial_eps=epsilon, exploration_final_eps=epsilon)
    seen = moves_made(agent, 300)
    assert len(seen) == 300
    assert all(mask[move] for mask, move in seen)
    agent = agent_on([netlist()], masked=False, exploration_initial_eps=1.0, exploration_final_eps=1.0)
    assert not all(mask[move] for mask, move in moves_made(agent, 200))


def test_predictions_are_greedy_within_the_mask_and_of_the_observations_shape():
    agent = agent_on([netlist()])
    obs = np.random.default_rng(0).uniform(-1, 1, (9, 12)).astype(np.float32)
    q = agent.policy.q_net(torch.from_numpy(obs)).detach()
    moves, state = agent.predict(obs, deterministic=True)
    assert state is None
    assert moves.tolist() == q.argmax(1).tolist()
    assert agent.predict(obs[3], deterministic=True)[0] == moves[3]
    mask = np.ones((9, 6), np.int8)
    mask[np.arange(9), moves] = 0
    second, _ = agent.predict(obs, deterministic=True, action_masks=mask)
    assert second.tolist() == q.argsort(1)[:, -2].tolist()
    agent.exploration_rate = 1.0
    assert len(set(agent.predict(obs.repeat(20, 0))[0].tolist())) == 6


def test_it_also_takes_gymnasium_environments_and_masks_their_moves():
    env = DummyVecEnv([lambda: ConnectionEpisodes(gym.make("GlobalRouting-v0", problem=netlist(), max_steps=12))])
    agent = DoubleDQN("MlpPolicy", env, seed=0, learning_starts=20, batch_size=8, buffer_size=300, device="cpu")
    agent.learn(120)
    assert len(agent.history) >= 1
    assert 0 < stored(agent).next_mask.mean() < 1


# ---- replay


def test_replay_keeps_masks_and_terminal_observations():
    problem = netlist(3)
    agent = filled(agent_on([problem]), 150)
    assert isinstance(agent.replay_buffer, MaskedReplay)
    kept = stored(agent)
    env = ConnectionEpisodes(GlobalRouting(problem, observation="scaled", max_steps=12))
    obs, _ = env.reset()
    ends = {"made": 0, "given up": 0}
    for t in range(150):
        assert (kept.obs[t, 0].numpy() == obs).all()
        obs, reward, terminated, truncated, info = env.step(int(kept.moves[t, 0]))
        assert (kept.next_obs[t, 0].numpy() == obs).all()
        assert (kept.next_mask[t, 0].numpy() == info["action_mask"]).all()
        assert kept.returns[t, 0] == reward
        assert kept.discount[t, 0] == (0.0 if terminated else torch.tensor(0.99)), "a connection given up goes on"
        if terminated or truncated:
            ends["made" if terminated else "given up"] += 1
            obs, _ = env.reset()
    assert min(ends.values()) > 2


def test_a_full_replay_forgets_the_oldest_and_draws_from_all():
    agent = filled(agent_on([netlist()] * 2, buffer_size=40), 100)  # 20 rows of two environments
    replay = agent.replay_buffer
    assert (replay.buffer_size, replay.full, replay.pos) == (20, True, 10)
    rows = {row.numpy().tobytes() for row in stored(agent).obs.reshape(40, 12)}
    batch = replay.draw(2000)
    assert {row.numpy().tobytes() for row in batch.obs} == rows
    assert (batch.obs.shape, batch.next_obs.shape, batch.next_mask.shape) == ((2000, 12), (2000, 12), (2000, 6))
    assert batch.moves.shape == batch.returns.shape == batch.discount.shape == batch.places.shape == (2000,)
    assert batch.moves.dtype == torch.int64
    assert set(batch.places.tolist()) == set(range(40))
    with pytest.raises(NotImplementedError, match="take draw"):
        replay.sample(8)


# ---- demonstrations


def test_demonstrations_are_astars_paths_played_in_the_environment():
    problem = netlist(5, nets=6, capacity=3)
    agent = agent_on([problem])
    options = {"observation": "scaled", "max_steps": 12}
    put = demonstrate(agent, problem, 2, options)
    kept, grid = stored(agent), grid_of(problem)
    assert agent.replay_buffer.pos == put
    env = ConnectionEpisodes(GlobalRouting(problem, **options))
    obs, _ = env.reset()
    t = 0
    for walk in astar.paths(problem):
        for move in moves_of(grid, walk):
            allowed = env.action_masks()[move]
            assert (kept.obs[t, 0].numpy() == obs).all()
            assert kept.moves[t, 0] == move
            obs, reward, terminated, truncated, info = env.step(move)
            assert (kept.next_obs[t, 0].numpy() == obs).all()
            assert (kept.returns[t, 0], kept.discount[t, 0] == 0) == (reward, terminated)
            assert (kept.next_mask[t, 0].numpy() == info["action_mask"]).all()
            t += 1
            if not allowed or terminated or truncated:
                break
        obs, _ = env.reset()
    assert put == 2 * t
    rows = agent.replay_buffer.ring.rows[0]
    assert torch.equal(rows[:t], rows[t : 2 * t])
    assert kept.returns.max() == 100


def test_demonstrations_fill_every_environments_place():
    problem = netlist(5)
    agent = agent_on([problem] * 3)
    put = demonstrate(agent, problem, 1, {"observation": "scaled", "max_steps": 12})
    assert agent.replay_buffer.pos == put
    rows = agent.replay_buffer.ring.rows[0, : 3 * put].view(put, 3, -1)
    assert torch.equal(rows, rows[:, :1].expand_as(rows))


def test_a_connection_that_astar_cannot_make_does_not_shift_the_others():
    # no layer allows a vertical wire, so that the first net cannot be joined
    nets = (Net("tall", "0", ((0, 0, 1), (3, 2, 1))), Net("flat", "1", ((0, 1, 1), (2, 1, 1))))
    problem = Problem(4, 3, (Layer(2, 0),), nets)
    assert [len(path) for path in astar.paths(problem)] == [0, 3]
    agent = agent_on([problem])
    put = demonstrate(agent, problem, 1, {"observation": "scaled", "max_steps": 12})
    assert put == 2
    assert stored(agent).moves[:, 0].tolist() == [0, 0]
    assert stored(agent).returns[:, 0].tolist() == [-1, 100]


def test_a_route_that_ends_at_a_full_edge_has_no_part_in_the_returns_of_the_next_one():
    # one track, which the first net takes: the second one's moves change nothing
    nets = (Net("a", "0", ((0, 0, 1), (2, 0, 1))), Net("b", "1", ((0, 0, 1), (2, 0, 1))))
    problem = Problem(3, 1, (Layer(1, 0),), nets)
    options = {"observation": "scaled", "max_steps": 12}
    found = transitions(problem, options)
    assert [(one.made, one.ended) for one in found] == [(False, False), (True, True), (False, False), (False, True)]
    agent = agent_on([problem], n_step=2, gamma=0.5)
    demonstrate(agent, problem, 2, options)
    assert stored(agent).returns[:, 0].tolist() == [49, 100, -1.5, -1] * 2
    assert stored(agent).discount[:, 0].tolist() == [0, 0, 0.25, 0.5] * 2
    rows = demonstration_rows(problem, TrainConfig(n_step=2, gamma=0.5, reward="published", reward_scale=1.0,
                                                   observation="scaled", max_steps=12))  # fmt: skip
    assert torch.equal(rows, agent.replay_buffer.ring.rows[0, :4]), "as in a population"


# ---- returns over several moves, priorities, dueling networks


def told(agent, moves):
    """Play; of each move and environment (obs, reward, next obs, next mask, made, ended)."""
    add, found = agent.replay_buffer.add, []

    def noted(obs, next_obs, action, reward, done, infos):
        found.append([
            (obs[b].copy(), float(reward[b]), next_obs[b].copy(), infos[b]["action_mask"].copy(),
             bool(done[b]) and not infos[b]["TimeLimit.truncated"], bool(done[b]))
            for b in range(len(obs))
        ])  # fmt: skip
        add(obs, next_obs, action, reward, done, infos)

    agent.replay_buffer.add = noted
    filled(agent, moves)
    return found


@pytest.mark.parametrize("n", [1, 2, 5])
def test_returns_follow_the_connection_of_each_environment(n):
    agent = agent_on([netlist(), netlist(2)], n_step=n, gamma=0.8)
    moves = told(agent, 200)
    kept, ends = stored(agent), 0
    for b in range(2):
        for t in range(len(moves)):
            total, k = 0.0, 0
            while True:
                _, reward, after, mask, made, ended = moves[t + k][b]
                total += 0.8**k * reward
                k += 1
                if ended or k == n or t + k == len(moves):
                    break
            ends += ended and k < n
            assert (kept.obs[t, b].numpy() == moves[t][b][0]).all()
            assert (kept.next_obs[t, b].numpy() == after).all()
            assert (kept.next_mask[t, b].numpy() == mask).all()
            assert kept.returns[t, b].item() == pytest.approx(total, rel=1e-5)
            assert kept.discount[t, b].item() == pytest.approx(0.0 if made else 0.8**k)
    assert n == 1 or ends > 10


def test_a_connection_broken_off_by_a_reset_has_no_part_in_later_returns():
    agent = filled(agent_on([netlist()], n_step=3), 21)
    before = stored(agent).returns.clone()
    assert agent.replay_buffer.ring.age > 0, "a connection is under way"
    agent.learn(3)  # which resets the environment
    assert torch.equal(stored(agent).returns[: len(before)], before)


def test_transitions_are_drawn_by_the_errors_they_had():
    agent = filled(agent_on([netlist(), netlist(2)], priority=0.7), 120)
    ring = agent.replay_buffer.ring
    everywhere = torch.arange(120)[None]
    assert (ring.tree.values(everywhere) == 1).all(), "new ones as the largest seen"
    drawn = []
    draw = agent.replay_buffer.draw
    agent.replay_buffer.draw = lambda batch: drawn.append(draw(batch)) or drawn[-1]
    target_net, before = agent.policy.q_net_target, {n: one.clone() for n, one in agent.q_net.state_dict().items()}
    agent.train(1, 16)
    assert any(not torch.equal(before[name], one) for name, one in agent.q_net.state_dict().items())
    batch = drawn[0]
    with torch.no_grad():
        after = target_net(batch.next_obs)
        agent.q_net.load_state_dict(before)
        target = double_dqn_target(batch.returns, 0.0, agent.q_net(batch.next_obs), after, batch.discount,
                                   batch.next_mask)  # fmt: skip
        errors = agent.q_net(batch.obs).gather(1, batch.moves[:, None])[:, 0] - target
    expected = torch.ones(120, dtype=torch.float64)
    expected[batch.places] = (errors.abs().double() + 1e-3) ** 0.7
    torch.testing.assert_close(ring.tree.values(everywhere)[0], expected, rtol=1e-5, atol=1e-6)
    many = draw(20_000)
    share = torch.bincount(many.places, minlength=120) / 20_000
    wanted = expected / expected.sum()
    assert (share - wanted).abs().max() < 5 * (wanted.max() / 20_000) ** 0.5
    correction = (wanted * 120)[many.places] ** -0.4
    torch.testing.assert_close(many.weights, (correction / correction.max()).float())


def test_weights_multiply_the_transitions_in_the_closure():
    agent = filled(agent_on([netlist()], priority=0.5, loss="squared", max_grad_norm=np.inf))
    agent.train(5, 16)
    lesson = agent._lesson(32)
    assert lesson.weights.max() == 1 > lesson.weights.min()
    found = agent.q_net(lesson.obs).gather(1, lesson.moves[:, None])[:, 0]
    expected = (lesson.weights * (found - lesson.target) ** 2).mean()
    assert agent._closure(*lesson)().item() == pytest.approx(expected.item())


def test_a_dueling_policy_gives_value_plus_centred_advantage():
    agent = agent_on([netlist()], dueling=True)
    obs = torch.randn(7, 12)
    net = agent.policy.q_net
    assert torch.equal(q_values(net, obs), net(obs))
    both = net.q_net[:-1](obs)
    assert both.shape == (7, 7)
    torch.testing.assert_close(net(obs).mean(-1), both[:, 6])
    torch.testing.assert_close(net(obs).diff(dim=-1), both[:, :6].diff(dim=-1))
    assert all(torch.equal(one, agent.q_net_target.state_dict()[name]) for name, one in net.state_dict().items())


def test_more_moves_in_a_return_than_an_environment_has_transitions_are_refused():
    with pytest.raises(ValueError, match="n_step 6 is larger than the replay of 10, 5 an environment"):
        agent_on([netlist()] * 2, n_step=6, buffer_size=10)


# ---- optimizers that need more than a loss


def test_sub_batches_slide_by_one_and_keep_their_targets():
    agent = filled(agent_on([netlist()], optimizer="olmoq_mb"))
    agent.train(1, 30)
    first = list(agent.window)
    assert [len(lesson.obs) for lesson in first] == [10, 10, 10]
    agent.train(1, 30)
    assert all(a is b for a, b in zip(agent.window[:2], first[1:], strict=True))
    assert all(agent.window[2] is not lesson for lesson in first)
    counters = agent.policy.optimizer.counters()
    assert (counters["k"], counters["n_gradients"]) == (2, 6)
    assert agent._n_updates == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("proxprop", (), "'proxprop' takes a model apart layer by layer"),
        ("levenberg_marquardt", (), "'levenberg_marquardt' solves least squares from residuals"),
        ("hessian_free", (), "'hessian_free' needs the network's outputs .* take product=hessian"),
    ],
)
def test_an_optimizer_that_needs_more_than_the_loss_is_refused_when_the_settings_are_made(name, options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(optimizer=name, option=options)
    with pytest.raises(ValueError, match=message):
        agent_on([netlist()], optimizer=name)
    assert TrainConfig(optimizer="hessian_free", option=("product=hessian",)).optimizer_options


def test_the_moves_of_a_walk():
    problem = drawn("a . a\n. . .")
    grid = grid_of(problem)
    tiles = [(0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 0, 1), (1, 0, 0), (0, 0, 0)]
    assert moves_of(grid, [grid.node(tile) for tile in tiles]) == [0, 4, 2, 3, 5, 1]


# ---- settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "passes must be at least 1, got 0"),
        ({"gamma": 1.5}, "gamma must lie in [0, 1], got 1.5"),
        ({"demonstrations": -1}, "demonstrations must be at least 0, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
        ({"observation": "windows"}, "observations has no 'windows'"),
        ({"reward": "publish"}, "rewards has no 'publish'"),
    ],
)
def test_a_setting_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TrainConfig(**options)


def test_a_netlist_is_a_file_or_a_seed():
    assert problem_of("published:3") == published(seed=3)
    with pytest.raises(ValueError, match="netlist 'published:x': the seed must be a whole number, got 'x'"):
        problem_of("published:x")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        problem_of("nowhere.gr")


@pytest.mark.parametrize("name", ["torch.rmsprop", "asnaq", "olmoq"])
def test_stable_baselines_own_zip_brings_the_agent_back(name, tmp_path):
    agent = agent_on([netlist()], optimizer=name, loss="squared", dueling=True, n_step=2, priority=0.5)
    agent.learn(60)
    agent.save(tmp_path / "agent.zip")
    back = DoubleDQN.load(tmp_path / "agent.zip", device="cpu")
    obs = np.random.default_rng(0).uniform(-1, 1, (50, 12)).astype(np.float32)
    assert (back.predict(obs, deterministic=True)[0] == agent.predict(obs, deterministic=True)[0]).all()
    assert type(back.policy.optimizer) is optimizers.pick(name)
    assert back.loss == "squared"
    assert (back.replay_buffer.ring.n_step, back.replay_buffer.ring.priority) == (2, 0.5)
    if name != "torch.rmsprop":
        mine, theirs = agent.policy.optimizer.memory, back.policy.optimizer.memory
        assert mine.keys() == theirs.keys()
        assert mine["k"] == theirs["k"] > 5
        assert all(torch.equal(one, theirs[key]) for key, one in mine.items() if isinstance(one, torch.Tensor))


@pytest.mark.parametrize(
    "option", [{"n_steps": 3}, {"optimize_memory_usage": True}, {"replay_buffer_kwargs": {"a": 1}}]
)
def test_options_that_would_not_be_honoured_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        agent_on([published(seed=0, nets=2)], **option)


def test_another_policy_is_refused():
    env = RoutingVecEnv([published(seed=0, nets=2)])
    with pytest.raises(ValueError, match="RoutingPolicy"):
        DoubleDQN("CnnPolicy", env)


def test_normalised_observations_are_refused():
    env = VecNormalize(RoutingVecEnv([published(seed=0, nets=2)]))
    with pytest.raises(TypeError, match="VecNormalize"):
        DoubleDQN("MlpPolicy", env)


def test_the_policy_class_takes_the_same_settings_as_its_name():
    env = RoutingVecEnv([published(seed=0, nets=2)])
    agent = DoubleDQN(RoutingPolicy, env, optimizer="torch.rmsprop", net_arch=(8,))
    assert isinstance(agent.policy.optimizer, torch.optim.RMSprop)
    assert [layer.out_features for layer in agent.q_net.q_net if isinstance(layer, torch.nn.Linear)] == [8, 6]


def test_a_deterministic_prediction_draws_nothing():
    agent = agent_on([published(seed=0, nets=2)])
    before = agent.rng.bit_generator.state
    moves, _ = agent.predict(np.zeros((3, 12)), deterministic=True)  # float64, as users pass it
    assert moves.shape == (3,)
    assert agent.rng.bit_generator.state == before


class Doubling(FlattenExtractor):
    def forward(self, observations):
        return 2 * super().forward(observations)


def test_a_features_extractor_is_used():
    agent = agent_on([published(seed=0, nets=2)], policy_kwargs={"features_extractor_class": Doubling})
    obs = torch.rand(5, 12)
    torch.testing.assert_close(q_values(agent.q_net, obs), agent.q_net.q_net(2 * obs))


def test_a_learning_rate_is_given_once():
    with pytest.raises(ValueError, match="once"):
        agent_on([published(seed=0, nets=2)], learning_rate=1e-3, optimizer_options={"lr": 1e-2})
