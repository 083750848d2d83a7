"""The tensor environment is, move for move, the vector environment in connection episodes; on CUDA too."""

import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from boards import drawn
from referee import likely_move

from routing_env import rules
from routing_env.device_env import TensorRouting
from routing_env.plugins import names
from routing_env.vector_env import GlobalRoutingVector

KINDS = names("observations"), names("rewards")
PAIRS = sorted({tuple(kind[i % len(kind)] for kind in KINDS) for i in range(max(map(len, KINDS)))})
OUT = ("obs", "mask", "final", "final_mask", "gains", "flags")
LIMITS = {"max_steps": 9}

needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def boards():
    """One shape of three layers; nets of two to four pins, closed tiles, other capacities, 2 to 6 connections."""
    return [
        drawn("a . # b\n. a . .\nb # . a", capacity=2, layers=3),
        drawn("a . . a\n. # # .\na . . b", capacity=3, layers=3, min_width=1),
        drawn("a b c d\n. . # a\nd c b a", capacity=2, layers=3),
    ]


def likely(rng, env):
    """A move for each problem, often a good one."""
    state = env.tables["state"].cpu().numpy()
    offsets = (state[:, rules.TARGET_X : rules.TARGET_Z + 1] - state[:, rules.X : rules.Z + 1]).tolist()
    masks = env.mask.cpu().numpy()
    return torch.tensor([likely_move(rng, mask, tuple(way), 0.8) for mask, way in zip(masks, offsets, strict=True)])


def assert_same(env, other, exact=True):
    """Equal outputs and tables; floats that CUDA rounds elsewhere within the last places."""
    pairs = [(name, getattr(env, name), getattr(other, name)) for name in OUT]
    for name, one, another in [*pairs, *((name, env.tables[name], other.tables[name]) for name in env.tables)]:
        loose = not exact and one.is_floating_point()
        tolerance = 1e-6 if loose else 0
        torch.testing.assert_close(
            one.cpu(), another.cpu(), rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
        )


def play(*envs, moves=120, seed=3):
    """The same moves in environments that must agree; ends counted by their bit."""
    rng, seen = np.random.default_rng(seed), 0
    for _ in range(moves):
        chosen = likely(rng, envs[0])
        for env in envs:
            env.step(chosen.to(env.device))
        seen |= int(np.bitwise_or.reduce(envs[0].flags.cpu().numpy()))
        yield
    assert seen == rules.BLOCKED | rules.ARRIVED | rules.TIMED_OUT | rules.PASS_OVER, "boards that show everything"


@pytest.mark.parametrize("keep_failed", [True, False])
@pytest.mark.parametrize(("observation", "reward"), PAIRS)
def test_it_is_the_vector_environment_move_for_move(observation, reward, keep_failed):
    options = {"observation": observation, "reward": reward, "via_capacity": 2, "keep_failed": keep_failed} | LIMITS
    vector = GlobalRoutingVector(3, boards(), episode="connection", **options)
    env = TensorRouting(boards(), **options)
    assert len({int(count) for count in env.tables["state"][:, rules.COUNT]}) == len(env) == 3
    rng, seen = np.random.default_rng(5), 0
    for restart in (True, False, True):
        obs, infos = vector.reset(options={"restart": restart})
        env.begin(restart=restart)
        assert (env.obs.numpy() == obs).all()
        assert (env.mask.numpy() == infos["action_mask"]).all()
        for _ in range(130):
            moves = likely(rng, env)
            obs, gains, terminated, truncated, infos = vector.step(moves.numpy())
            env.step(moves)
            assert (env.obs.numpy() == obs).all()
            assert (env.action_masks().numpy() == vector.action_masks()).all()
            assert (env.gains.numpy() == gains).all()
            assert (env.terminated().numpy() == terminated).all()
            assert (env.truncated().numpy() == truncated).all()
            seen |= int(np.bitwise_or.reduce(env.flags.numpy()))
            ended = terminated | truncated
            assert ended.any() == ("final_obs" in infos)
            if ended.any():
                final = infos["final_info"]
                assert (env.final.numpy()[ended] == np.stack(list(infos["final_obs"][ended]))).all()
                assert (env.final_mask.numpy()[ended] == final["action_mask"][ended]).all()
                over = final.get("_routed", np.zeros(3, bool))
                assert (env.pass_over().numpy() == over).all()
                for name, values in env.last().items():
                    assert not over.any() or (values.numpy()[over] == final[name][over]).all(), name
        for name, array in vector.state._asdict().items():
            assert (env.tables[name].numpy() == array).all(), name
        for b, best in product(range(3), (True, False)):
            ours, theirs = env.solution(b, best=best), vector.solution(b, best=best)
            assert ours.info == theirs.info
            assert all(map(np.array_equal, ours.edges, theirs.edges))
    assert seen & rules.ARRIVED
    assert seen & rules.TIMED_OUT
    assert seen & rules.PASS_OVER


def test_a_state_brings_back_exactly_the_same_future():
    first, second = (TensorRouting(boards(), **LIMITS) for _ in range(2))
    first.begin()
    for _ in play(first, moves=60):
        pass
    state = first.get_state()
    second.set_state(state)
    for _ in play(first, second):
        now, again = first.get_state(), second.get_state()
        assert all(torch.equal(now[name], again[name]) for name in now)
        assert torch.equal(first.gains, second.gains)
        assert torch.equal(first.flags, second.flags)
    first.set_state(state)
    assert all(torch.equal(one, state[name]) for name, one in first.get_state().items())
    with pytest.raises(ValueError, match=r"room has shape \(3, .*, this environment's has \(2, "):
        TensorRouting(boards()[:2], **LIMITS).set_state(state)


@pytest.mark.parametrize("places", [[0, 2], [2, 0], [1]])
def test_problems_that_are_kept_go_on_as_if_all_were_there(places):
    whole, part = (TensorRouting(boards(), **LIMITS) for _ in range(2))
    whole.begin()
    part.begin()
    for _ in play(whole, part, moves=60):
        pass
    part.keep(torch.tensor(places))
    assert len(part) == len(places)
    rng = np.random.default_rng(1)
    for _ in range(80):
        moves = likely(rng, whole)
        whole.step(moves)
        part.step(moves[places])
        for name in OUT:
            assert torch.equal(getattr(part, name), getattr(whole, name)[places]), name
    for k, b in enumerate(places):
        ours, theirs = part.solution(k), whole.solution(b)
        assert ours.info == theirs.info
        assert all(map(np.array_equal, ours.edges, theirs.edges))


@pytest.mark.parametrize("places", [[], [0, 0], [3], [-1], [0.0], [[0]], [True, False, True]])
def test_places_that_cannot_be_kept_are_refused(places):
    env = TensorRouting(boards(), **LIMITS)
    with pytest.raises(ValueError, match="places must be different whole numbers from 0 to 2, got tensor"):
        env.keep(torch.tensor(places))


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        (torch.tensor([0, 1]), "moves of shape (2,), expected (3,)"),
        (torch.tensor(0), "moves of shape (), expected (3,)"),
        (torch.zeros(3), "moves of type torch.float32, expected whole numbers"),
        (torch.tensor([0, 6, 9]), "move 6 is none of 0 to 5"),
        (torch.tensor([0, 0, -1]), "move -1 is none of 0 to 5"),
    ],
)
def test_bad_moves_are_named_and_change_nothing(moves, message):
    env = TensorRouting(boards(), **LIMITS)
    env.begin()
    before = env.get_state()
    with pytest.raises(ValueError, match=re.escape(message)):
        env.step(moves)
    assert all(torch.equal(one, before[name]) for name, one in env.get_state().items())


def test_a_device_that_is_not_there_is_refused_with_what_to_install():
    with pytest.raises(ValueError, match="device 'meta' is neither a CPU nor CUDA"):
        TensorRouting(boards(), device="meta")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"device 'cuda:1': torch sees no CUDA device; .*quasiroute\[gpu\]"):
            TensorRouting(boards(), device="cuda:1")


def test_cuda_without_its_compiler_names_the_extra(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"device 'cuda': CUDA needs .* pip install quasiroute\[gpu\]"):
        TensorRouting(boards(), device="cuda")


# ---- CUDA


def simulated():
    """What the test below runs where numba simulates CUDA: kernels, threads and all, on the CPU's tensors."""
    for observation, reward in PAIRS:
        options = {"observation": observation, "reward": reward, "via_capacity": 2} | LIMITS
        here, there = (TensorRouting(boards(), **options, device=device) for device in ("cpu", "cuda"))
        assert there.device.type == "cpu"
        for restart in (True, False):
            here.begin(restart=restart)
            there.begin(restart=restart)
            assert_same(here, there)
            for _ in play(here, there, moves=90, seed=4 + restart):
                assert_same(here, there)
        for env in (here, there):
            env.keep(torch.tensor([2, 0]))
        for _ in range(5):
            for env in (here, there):
                env.step(torch.tensor([0, 3]))
            assert_same(here, there)
    print("equal")


def test_the_cuda_form_plays_as_the_cpu_form_in_numbas_simulator():
    root = str(Path(__file__).parent.parent)
    env = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": root}
    told = subprocess.run(
        [sys.executable, "-W", "error", __file__], env=env, cwd=root, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert told.stdout.strip() == "equal", told.stderr


class TestOnTheDevice:
    """Tables of integers are the CPU's; observations and rewards within the last places."""

    pytestmark = needs_cuda

    @pytest.mark.parametrize("keep_failed", [True, False])
    @pytest.mark.parametrize(("observation", "reward"), PAIRS)
    def test_it_plays_as_the_cpu_does(self, observation, reward, keep_failed):
        options = {"observation": observation, "reward": reward, "keep_failed": keep_failed} | LIMITS
        many = boards() * 30  # more than one block
        here, there = (TensorRouting(many, **options, device=device) for device in ("cpu", "cuda"))
        for restart in (True, False):
            here.begin(restart=restart)
            there.begin(restart=restart)
            for _ in play(here, there, seed=6 + restart):
                assert_same(here, there, exact=False)
        for env in (here, there):
            env.keep(torch.tensor([40, 2]))
            env.step(torch.tensor([0, 3], device=env.device))
        assert_same(here, there, exact=False)
        assert here.solution(1).info == pytest.approx(there.solution(1).info)

    def test_a_state_can_move_between_devices(self):
        here, there = (TensorRouting(boards(), **LIMITS, device=device) for device in ("cpu", "cuda"))
        here.begin()
        for _ in play(here):
            pass
        there.set_state(here.get_state())
        here.step(torch.tensor([0, 1, 2]))
        there.step(torch.tensor([0, 1, 2], device="cuda"))
        torch.testing.assert_close(there.tables["log"].cpu(), here.tables["log"])
        torch.testing.assert_close(there.flags.cpu(), here.flags)

    def test_moves_in_a_captured_graph_are_moves_one_by_one(self):
        here, there = (TensorRouting(boards(), **LIMITS, device=device) for device in ("cpu", "cuda"))
        moves = torch.zeros(3, dtype=torch.int64, device="cuda")
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        total = torch.zeros(3, dtype=torch.float64, device="cuda")
        here.begin()
        there.begin()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            there.step(moves)
            total += there.gains
        rng, paid = np.random.default_rng(2), torch.zeros(3, dtype=torch.float64)
        for _ in range(150):
            chosen = likely(rng, here)
            moves.copy_(chosen)
            graph.replay()
            here.step(chosen)
            paid += here.gains
            assert_same(here, there, exact=False)
        torch.testing.assert_close(total.cpu(), paid)

    def test_it_follows_torchs_current_stream_and_waits_for_nothing(self):
        here, there = (TensorRouting(boards(), **LIMITS, device=device) for device in ("cpu", "cuda"))
        chosen = torch.randint(0, 6, (50, 3), generator=torch.Generator().manual_seed(0))
        moves, stream = chosen.cuda(), torch.cuda.Stream()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(stream):
                torch.cuda._sleep(100_000_000)
                there.begin()
                for one in moves:
                    there.step(one)
                    there.action_masks(), there.terminated(), there.truncated(), there.last()
                assert not stream.query(), "the host is ahead of the device"
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        here.begin()
        for one in chosen:
            here.step(one)
        assert_same(here, there, exact=False)


if __name__ == "__main__":
    simulated()
