"""Many netlists on torch tensors: the same rules, one call a move, nothing read back to the host.

The tensors hold what the arrays of ``state.py`` hold and are changed in place. On the CPU the compiled rules loop over
the problems; on CUDA one thread plays one problem, on torch's current stream, also inside a captured graph. Episodes
are connections, as in ``ConnectionEpisodes``; a pass that ends is followed by the next.

CUDA forms products and sums in one rounding where the CPU has two: observations and rewards may differ from the CPU's
in the last place, tables of integers never.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numba
import torch
from numba.core.errors import NumbaPerformanceWarning
from torch import Tensor

from routing_env import rules
from routing_env.decompose import Decomposition
from routing_env.gym_env import as_object
from routing_env.problem import Problem
from routing_env.program import device_program, program
from routing_env.solution import Solution
from routing_env.state import State, make_state, solution_of

__all__ = ["TensorRouting"]

WARP = 32
"""threads a block: problems differ in what a move does, so few wait for each other and all processors have some"""


class TensorRouting:
    """B netlists of one grid shape as tensors.

    After ``begin`` and each ``step``: ``obs`` (B, entries) float32 and ``mask`` (B, 6) int8 say what to act on; where a
    connection ended, ``final`` and ``final_mask`` are those after its last move; ``gains`` (B,) float64 are the rewards
    and ``flags`` (B,) int64 what happened, as bits of ``rules``. They stay the same tensors until ``keep`` and all are
    overwritten by the next step.

    A step waits for nothing and can be captured in a CUDA graph. Such a graph knows the tensors by their place: it is
    good until ``keep``. One process plays on one device.

    Args:
        problems: one an environment, same columns, rows and layers.
        observation, reward, max_steps, via_capacity, keep_failed, decomposition: as in GlobalRouting.
        device: where the tensors lie. Where numba simulates CUDA (``NUMBA_ENABLE_CUDASIM=1``), ``"cuda"`` is the
            simulator and the tensors lie on the CPU.

    Raises:
        ValueError: see ``make_state``; a device that is neither a CPU nor CUDA.
        RuntimeError: CUDA is asked for and torch sees no device, or the package that compiles for it is missing.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        *,
        observation: Any = "published",
        reward: Any = "published",
        max_steps: int | None = None,
        via_capacity: int | None = None,
        keep_failed: bool = True,
        decomposition: Decomposition = "spanning",
        device: torch.device | str = "cpu",
    ) -> None:
        self.problems, self.device = list(problems), torch.device(device)
        self._threaded = _is_cuda(self.device)
        if self._threaded and _simulated():
            self.device = torch.device("cpu")
        observation, reward = as_object("observations", observation), as_object("rewards", reward)
        made = make_state(
            self.problems, reward.prices(), closed=reward.closed, max_steps=max_steps, via_capacity=via_capacity,
            keep_failed=keep_failed, decomposition=decomposition,
        )  # fmt: skip
        self.tables = {name: torch.from_numpy(array).to(self.device) for name, array in made._asdict().items()}
        """the arrays of ``State`` by name"""
        many, entries = len(self.problems), len(observation.bounds(self.problems[0])[0])
        self.obs = torch.zeros(many, entries, device=self.device)
        self.mask = torch.zeros(many, 6, dtype=torch.int8, device=self.device)
        self.final, self.final_mask = torch.zeros_like(self.obs), torch.zeros_like(self.mask)
        self.gains = torch.zeros(many, dtype=torch.float64, device=self.device)
        self.flags = torch.zeros(many, dtype=torch.int64, device=self.device)
        self.moves = torch.zeros(many, dtype=torch.int64, device=self.device)
        self.device = self.obs.device
        self._play: Callable[..., None]
        self._begin: Callable[..., None]
        if self._threaded:
            self._play, self._begin = (
                _Launch(one, self.device) for one in device_program(observation.write, reward.pay)
            )
        else:
            compiled = program(observation.write, reward.pay)
            self._play, self._begin = compiled.step_many, compiled.begin_many
        self._prepare()
        if self._threaded:
            self._compile()

    def __len__(self) -> int:
        return len(self.problems)

    def _prepare(self) -> None:
        """Views of the tensors that compiled code takes, made once: making them takes longer than a move."""
        view = _on_device if self.device.type == "cuda" else Tensor.numpy
        self._table = [view(one) for one in self.tables.values()]
        self._out = [view(one) for one in (self.obs, self.mask, self.final, self.final_mask, self.gains, self.flags)]
        self._moves = view(self.moves)

    def _compile(self) -> None:
        """Launch both kernels for no problem: a graph that is being captured cannot wait for a compiler."""
        try:
            self._play(0, 0, self._moves, *self._table, *self._out)
            self._begin(0, 0, True, *self._table, *self._out[:2])
        except (ImportError, OSError, RuntimeError) as missing:  # a compiler, linker or driver that is not found
            raise RuntimeError(f"{_EXTRA} ({missing})") from missing

    def begin(self, *, restart: bool = True) -> None:
        """Begin a new pass in every problem, or else the next connection where one is under way."""
        self._begin(0, len(self), restart, *self._table, *self._out[:2])

    def step(self, moves: Tensor) -> None:
        """Play one move in each problem and go on to the next connection or pass.

        Args:
            moves: (B,) whole numbers, 0 to 5. On CUDA that is not checked, which would mean to wait: others are
                played as the nearest of these.

        Raises:
            ValueError: not one whole number a problem, or (on the CPU) one that is none of 0 to 5.
        """
        if moves.shape != self.moves.shape:
            raise ValueError(f"moves of shape {tuple(moves.shape)}, expected ({len(self)},)")
        if moves.is_floating_point() or moves.is_complex() or moves.dtype is torch.bool:
            raise ValueError(f"moves of type {moves.dtype}, expected whole numbers")
        self.moves.copy_(moves)
        if self.device.type == "cuda":
            self.moves.clamp_(0, 5)
        elif len(wrong := self.moves[(self.moves < 0) | (self.moves > 5)]):
            raise ValueError(f"move {int(wrong[0])} is none of 0 to 5")
        self._play(0, len(self), self._moves, *self._table, *self._out)

    def action_masks(self) -> Tensor:
        """(B, 6) bool: the moves that change the state; all of them where none does."""
        return self.mask > 0

    def terminated(self) -> Tensor:
        """(B,) bool: whether the last move reached its connection's target."""
        return (self.flags & rules.ARRIVED) > 0

    def truncated(self) -> Tensor:
        """(B,) bool: whether the last move was one too many for its connection."""
        return (self.flags & rules.TIMED_OUT) > 0

    def pass_over(self) -> Tensor:
        """(B,) bool: whether the last move ended a pass."""
        return (self.flags & rules.PASS_OVER) > 0

    def last(self) -> dict[str, Tensor]:
        """Copies of what each problem's last finished pass came to, (B,) each; 0 where none is finished.

        ``routed`` connections, ``wirelength`` with vias, ``overflow`` and ``pass_reward``, named as in the infos of the
        Gymnasium environments.
        """
        state, totals = self.tables["state"], self.tables["totals"]
        return {
            "routed": state[:, rules.LAST_ROUTED].clone(), "wirelength": state[:, rules.LAST_LOGGED].clone(),
            "overflow": state[:, rules.LAST_OVERFLOW].clone(), "pass_reward": totals[:, rules.LAST_REWARD].clone(),
        }  # fmt: skip

    def keep(self, places: Tensor) -> None:
        """Go on with the problems at some places only, in that order, each as it stands.

        All tensors of this environment are new ones afterwards: graphs captured before must not be replayed.

        Args:
            places: (K,) different whole numbers from 0 to B - 1; read by the host.

        Raises:
            ValueError: anything else.
        """
        chosen = places.tolist() if places.ndim == 1 and places.dtype in (torch.int32, torch.int64) else []
        if not chosen or len({*chosen}) < len(chosen) or not 0 <= min(chosen) <= max(chosen) < len(self):
            raise ValueError(f"places must be different whole numbers from 0 to {len(self) - 1}, got {places}")
        at = places.to(self.device, torch.int64)
        self.problems = [self.problems[b] for b in chosen]
        self.tables = {name: one[at] for name, one in self.tables.items()}
        for name in ("obs", "mask", "final", "final_mask", "gains", "flags", "moves"):
            setattr(self, name, getattr(self, name)[at])
        self._prepare()

    def solution(self, b: int, *, best: bool = True) -> Solution:
        """The wires of problem ``b``: of its best finished pass, or of the pass under way."""
        row = State(*(one[b].unsqueeze(0).cpu().numpy() for one in self.tables.values()))
        return solution_of(self.problems[b], row, 0, best=best)

    def get_state(self) -> dict[str, Tensor]:
        """Copies of everything that the next moves depend on."""
        kept = self.tables | {"obs": self.obs, "mask": self.mask}
        return {name: one.clone() for name, one in kept.items()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Go back to what ``get_state`` gave, here or on another device.

        Raises:
            ValueError: the state belongs to an environment of other shapes.
        """
        own = self.tables | {"obs": self.obs, "mask": self.mask}
        for name, one in own.items():
            if state[name].shape != one.shape:
                shape = tuple(state[name].shape)
                raise ValueError(f"{name} has shape {shape}, this environment's has {tuple(one.shape)}")
        for name, one in own.items():
            one.copy_(state[name])


_EXTRA = "CUDA needs the package numba-cuda and NVIDIA's compiler libraries: pip install quasiroute[gpu]"


def _is_cuda(device: torch.device) -> bool:
    if device.type == "cpu":
        return False
    if device.type != "cuda":
        raise ValueError(f"device {str(device)!r} is neither a CPU nor CUDA")
    if _simulated():
        return True
    # numba's own answer is no use: it opens the driver, and under the simulator it is always yes
    if not torch.cuda.is_available():
        raise RuntimeError(f"device {str(device)!r}: torch sees no CUDA device; {_EXTRA}")
    if importlib.util.find_spec("numba_cuda") is None:
        raise RuntimeError(f"device {str(device)!r}: {_EXTRA}")
    return True


def _simulated() -> bool:
    return bool(getattr(numba.config, "ENABLE_CUDASIM", False))


def _on_device(tensor: Tensor) -> Any:
    from numba import cuda

    return cuda.as_cuda_array(tensor, sync=False)


class _Launch:
    """A kernel, called like the loop over problems that it stands for, on torch's current stream."""

    def __init__(self, kernel: Any, device: torch.device) -> None:
        self.kernel, self.device = kernel, device
        self.configured: dict[tuple[int, int], Any] = {}

    def __call__(self, first: int, last: int, *rest: Any) -> None:
        if self.device.type != "cuda":  # simulated: idle threads are dear there
            self.kernel[max(1, -(-last // 2)), 2](last, *rest)
            return
        blocks = max(1, -(-last // WARP))
        with torch.cuda.device(self.device):
            at = blocks, torch.cuda.current_stream().cuda_stream
            if at not in self.configured:
                self.configured[at] = self._configure(*at)
            self.configured[at](last, *rest)

    def _configure(self, blocks: int, stream: int) -> Any:
        from numba import cuda

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaPerformanceWarning)  # said of every grid below 128 blocks
            return self.kernel[blocks, WARP, cuda.external_stream(stream)]
