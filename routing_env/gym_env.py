"""One netlist as a Gymnasium environment."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from routing_env import rules
from routing_env.decompose import Decomposition
from routing_env.formats import read_problem
from routing_env.plugins import pick
from routing_env.problem import Problem, Tile
from routing_env.program import program
from routing_env.solution import Solution
from routing_env.state import State, make_state, solution_of

__all__ = ["GlobalRouting", "pass_info"]

Observation = NDArray[np.float32]


class GlobalRouting(gym.Env[Observation, np.int64]):
    """Route the nets of a netlist one two-pin connection after the other, one tile or layer at a time.

    ## Description
    Nets come longest half-perimeter first; a minimum spanning tree splits each into two-pin connections. A wire of a
    net takes room on an edge once; edges that the net already uses stay open to it and cost nothing more.

    ## Action space
    ``Discrete(6)``: +x, -x, +y, -y, +z, -z. A move where there is no edge, or no room while full edges are closed,
    leaves the position unchanged and counts as a step. ``info["action_mask"]`` and ``action_masks()`` say which moves
    change the state (all ones where none does).

    ## Observation space
    ``Box`` float32, by ``observation``: ``"published"`` (12 numbers), ``"scaled"`` (the same within [-1, 1]),
    ``"corridors"`` (those and the room on the two L-shaped ways), ``"window"`` (capacities around the position), or an
    observation object.

    ## Reward
    By ``reward``: ``"published"`` (+100 on reaching the target, else -1; full edges closed), ``"overflow"`` (full
    edges open at a price), ``"scarcity"`` (published, and scarce room costs), or a reward object.

    ## Start
    The source of the first connection, nothing routed.

    ## Episode end
    Terminated after the last connection was made or given up (``max_steps`` moves); never truncated. The info then
    holds ``routed``, ``wirelength`` (of all wires laid, also for connections that failed), ``overflow`` and
    ``pass_reward``. Every info holds ``connection_done``.
    ``ConnectionEpisodes`` makes every connection an episode.

    ## Arguments
    problem: a Problem, or the path of a netlist; None for the published generator's netlist of seed 0.
    max_steps: moves a connection may take; None for 50, on grids beyond 8 x 8 3 (columns + rows).
    via_capacity: wires on one via; None for no limit (the published environment has 10).
    keep_failed: whether wires of a connection given up stay until the pass ends (as published).
    decomposition: of nets of more than two pins: spanning joins pins with pins (as published), steiner also joins at
        the branching nodes of a cheapest tree.

    ## Version history
    v0: first.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  declared so by the base class
        "render_modes": ["human", "rgb_array"],
        "render_fps": 10,
    }

    def __init__(
        self,
        problem: Problem | str | Path | None = None,
        *,
        observation: Any = "published",
        reward: Any = "published",
        max_steps: int | None = None,
        via_capacity: int | None = None,
        keep_failed: bool = True,
        decomposition: Decomposition = "spanning",
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode {render_mode!r} is none of {self.metadata['render_modes']}")
        self.problem = as_problem(problem)
        self.render_mode = render_mode
        observation, reward = as_object("observations", observation), as_object("rewards", reward)
        low, high = observation.bounds(self.problem)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(6)
        self.state: State = make_state(
            [self.problem], reward.prices(), closed=reward.closed, max_steps=max_steps, via_capacity=via_capacity,
            keep_failed=keep_failed, decomposition=decomposition,
        )  # fmt: skip
        self.arrived = False
        """whether the connection that ended last was made"""
        compiled = program(observation.write, reward.pay)
        self._play, self._begin = compiled.step_one, compiled.begin_many
        self._out = np.zeros((2, len(low)), np.float32)
        self._mask = np.zeros((2, 6), np.int8)
        self._row = 0  # of the two above: what to act on
        self._over = True
        self._arrays = (*self.state, self._out, self._mask)
        self._window: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new pass: nothing routed, all capacities restored."""
        super().reset(seed=seed)
        self._begin(0, 1, True, *self._arrays)
        self._row, self._over = 0, False
        if self.render_mode == "human":
            self.render()
        return self._out[0].copy(), self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one move.

        Raises:
            ValueError: the action is no number from 0 to 5.
        """
        try:
            move = int(action)
        except (TypeError, ValueError, OverflowError):
            move = -1
        if move != action or not 0 <= move < 6:
            raise ValueError(f"action {action!r} is none of 0 to 5")
        if self._over:
            raise gym.error.ResetNeeded("no pass is under way, or the pass is over; call reset()")
        reward, flags = self._play(move, *self._arrays)
        if self.render_mode == "human":
            self.render()
        if flags <= rules.BLOCKED:
            self._row = 0
            return self._out[0].copy(), reward, False, False, {
                "action_mask": self._mask[0].copy(), "connection_done": False,
            }  # fmt: skip
        self.arrived = bool(flags & rules.ARRIVED)
        self._over = over = bool(flags & rules.PASS_OVER)
        self._row = 0 if over else 1
        info = self._info(connection_done=True)
        if over:
            info |= pass_info(self.state, 0)
        return self._out[self._row].copy(), reward, over, False, info

    def connection_end(self) -> tuple[Observation, NDArray[np.int8]]:
        """Observation and mask after the last move, where it ended a connection."""
        return self._out[0].copy(), self._mask[0].copy()

    def next_connection(self) -> tuple[Observation, dict[str, Any]]:
        """Give up the connection under way, if a move was made in it, and go on to the next one or the next pass."""
        self._begin(0, 1, False, *self._arrays)
        self._row, self._over = 0, False
        return self._out[0].copy(), self._info()

    def _info(self, *, connection_done: bool = False) -> dict[str, Any]:
        return {"action_mask": self._mask[self._row].copy(), "connection_done": connection_done}

    def action_masks(self) -> NDArray[np.bool_]:
        """(6,): the moves that change the state."""
        return self._mask[self._row] > 0

    def solution(self, *, best: bool = True) -> Solution:
        """The wires of the best finished pass (see ``rules.close_pass``), or of the pass under way."""
        return solution_of(self.problem, self.state, best=best)

    def get_state(self) -> dict[str, Any]:
        """Everything that the next moves depend on, as arrays and plain values."""
        arrays = {name: array.copy() for name, array in self.state._asdict().items()}
        arrays |= {"out": self._out.copy(), "mask": self._mask.copy()}
        return arrays | {"row": self._row, "over": self._over, "np_random": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to what ``get_state`` gave.

        Raises:
            ValueError: the state belongs to an environment of other shapes.
        """
        targets = self.state._asdict() | {"out": self._out, "mask": self._mask}
        for name, array in targets.items():
            if np.shape(state[name]) != array.shape:
                raise ValueError(f"{name} has shape {np.shape(state[name])}, this environment's has {array.shape}")
        for name, array in targets.items():
            array[...] = state[name]
        self._row, self._over = int(state["row"]), bool(state["over"])
        self.np_random.bit_generator.state = state["np_random"]

    def render(self) -> Any:
        """Draw the pass under way: an RGB array, or a window in ``"human"`` mode."""
        if self.render_mode is None:
            gym.logger.warn("render() needs render_mode='rgb_array' or 'human'")
            return None
        from routing_env._frame import frame

        at = self.state.state[0, rules.X : rules.TARGET_Z + 1].tolist()
        picture = frame(self.problem, self.solution(best=False), *places(at))
        if self.render_mode == "rgb_array":
            return picture
        self._show(picture)
        return None

    def _show(self, picture: NDArray[np.uint8]) -> None:
        import matplotlib.pyplot as plt
        from matplotlib.backend_bases import NonGuiException

        if self._window is None:
            figure, ax = plt.subplots()
            ax.axis("off")
            self._window = figure, ax.imshow(picture)
            manager = figure.canvas.manager
            if manager is not None:
                with suppress(NonGuiException):  # a backend without windows still draws
                    manager.show()
        figure, image = self._window
        image.set_data(picture)
        figure.canvas.draw_idle()
        figure.canvas.flush_events()

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            import matplotlib.pyplot as plt

            plt.close(self._window[0])
            self._window = None


def as_problem(problem: Problem | str | Path | None) -> Problem:
    """A problem from what environments take as one."""
    if problem is None:
        made: Problem = pick("generators", "published")(seed=0)
        return made
    return problem if isinstance(problem, Problem) else read_problem(problem)


def as_object(folder: str, plugin: Any) -> Any:
    """A plug-in object from a name or from itself."""
    return pick(folder, plugin)() if isinstance(plugin, str) else plugin


def places(row: list[int]) -> tuple[Tile, Tile]:
    """Position and target as tiles, from the columns X to TARGET_Z of a state."""
    x, y, z, _, *target = row
    return (x, y, z), (target[0], target[1], target[2])


def pass_info(state: State, b: int) -> dict[str, Any]:
    """What is said at the end of a pass of problem ``b``."""
    row = state.state[b]
    return {
        "routed": int(row[rules.LAST_ROUTED]),
        "wirelength": int(row[rules.LAST_LOGGED]),
        "overflow": int(row[rules.LAST_OVERFLOW]),
        "pass_reward": float(state.totals[b, rules.LAST_REWARD]),
    }
