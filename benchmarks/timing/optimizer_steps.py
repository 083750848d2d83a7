"""Speed of optimizers: what a step costs besides its gradients, and what a population saves.

Times on the processor are those of the thread, so that other processes beside it spoil less; on a GPU, those of the
clock. "Besides" is the time of the step without the time inside the closure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import optimizers
from benchmarks.timing.measure import Measure
from benchmarks.timing.networks import closure_of, draw

__all__ = ["STOCHASTIC", "Apart", "bowl", "lbfgs_iterations", "populations", "stochastic_steps"]

STOCHASTIC = {
    "asnaq": 300, "adaqn": 300, "sqn": 300, "olbfgs": 300, "olnaq": 300, "olmoq": 300, "adam": 300,
    "obfgs": 10, "onaq": 10, "omoq": 10,
}  # fmt: skip
"""methods that work on one batch a step, and the steps of a round: the last three hold a dense matrix"""

Clock = Callable[[], float]


class Apart:
    """Time inside a closure apart from the rest.

    Args:
        closure: the closure.
        clock: seconds.
    """

    def __init__(self, closure: Callable[..., Any], clock: Clock = time.thread_time) -> None:
        self._closure, self._clock = closure, clock
        self.inside, self.calls = 0.0, 0

    def __call__(self, backward: bool = True) -> Any:
        """Call it and count its time."""
        start = self._clock()
        found = self._closure(backward)
        self.inside += self._clock() - start
        self.calls += 1
        return found

    def besides(self, work: Callable[[], object]) -> float:
        """Seconds of some work without those inside the closure."""
        self.inside, self.calls = 0.0, 0
        start = self._clock()
        work()
        return self._clock() - start - self.inside


def bowl(n: int, members: int | None = None) -> tuple[Tensor, Callable[..., Tensor]]:
    """Weights (*members, n) and the closure of a quadratic of condition 1,000, steeper from member to member."""
    scales = torch.logspace(0, 3, n)
    if members is not None:
        scales = scales * torch.linspace(1, 2, members).unsqueeze(-1)
    w = torch.ones_like(scales, requires_grad=True)

    def closure(backward: bool = True) -> Tensor:
        with torch.no_grad():
            g = scales * w
            loss = 0.5 * (torch.dot(g, w) if members is None else (g * w).sum(-1))
        if backward:
            w.grad = g
        return loss

    return w, closure


def _times(make: Callable[[], Any], steps: int) -> None:
    for _ in range(steps):
        make()


def _our_iterations(n: int, warm: int, steps: int) -> tuple[float, float]:
    w, closure = bowl(n)
    apart, optimizer = Apart(closure), optimizers.pick("lbfgs")([w], m=10)  # type: ignore[call-arg]
    _times(lambda: optimizer.step(apart), warm)
    seconds = apart.besides(lambda: _times(lambda: optimizer.step(apart), steps))
    return seconds / steps * 1e6, apart.calls / steps


def _torch_iterations(n: int, warm: int, steps: int) -> tuple[float, float]:
    w, closure = bowl(n)
    apart, optimizer = Apart(closure), torch.optim.LBFGS(
        [w], history_size=10, max_iter=warm, max_eval=100 * steps, line_search_fn="strong_wolfe", tolerance_grad=0,
        tolerance_change=0,
    )  # fmt: skip
    optimizer.step(apart)
    before = optimizer.state[w]["n_iter"]
    optimizer.param_groups[0]["max_iter"] = steps
    seconds = apart.besides(lambda: optimizer.step(apart))
    done = optimizer.state[w]["n_iter"] - before
    return seconds / done * 1e6, apart.calls / done


def lbfgs_iterations() -> Iterator[Measure]:
    """An iteration of L-BFGS (10 pairs, strong Wolfe search) besides its closure: less is better."""
    torch.set_num_threads(1)
    warm, steps = 12, 40
    for n in (5_000, 100_000, 1_000_000):
        calls = _our_iterations(n, warm, steps)[1], _torch_iterations(n, warm, steps)[1]
        yield Measure(
            f"L-BFGS besides the closure, n = {n:,}", "us/iteration", lambda n=n: _our_iterations(n, warm, steps)[0],  # type: ignore[misc]
            lambda n=n: _torch_iterations(n, warm, steps)[0], "torch.optim.LBFGS",  # type: ignore[misc]
            {"kind": "lbfgs", "n": n, "m": 10, "calls": calls[0], "calls_other": calls[1]},
        )  # fmt: skip


def _steps_besides(name: str, steps: int) -> Callable[[], float]:
    """Microseconds of a step on a batch besides its closure."""
    weights, x, y = draw(1)
    lone = [one[0].clone().requires_grad_() for one in weights]
    apart, optimizer = Apart(closure_of(lone, x[0], y[0])), optimizers.make(name, lone)
    _times(lambda: optimizer.step(apart), min(120, steps))
    return lambda: apart.besides(lambda: _times(lambda: optimizer.step(apart), steps)) / steps * 1e6


def stochastic_steps() -> Iterator[Measure]:
    """A step of each stochastic method besides its gradients, in steps of torch's Adam: less is better."""
    torch.set_num_threads(1)
    for name, steps in STOCHASTIC.items():
        yield Measure(
            f"{name} besides its gradients", "us/step", _steps_besides(name, steps),
            _steps_besides("torch.adam", steps), "torch Adam", {"kind": "stochastic", "method": name, "n": 4806},
        )  # fmt: skip


def _clock(device: str) -> Clock:
    if device == "cpu":
        return time.thread_time

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def _population(name: str, members: int, device: str, steps: int) -> Callable[[], float]:
    """Steps of a member in a second, gradients included, of a population."""
    weights, x, y = draw(members)
    weights = [one.to(device).requires_grad_() for one in weights]
    closure = closure_of(weights, x.to(device), y.to(device))
    optimizer, clock = optimizers.make(name, weights, member_dims=1), _clock(device)
    return _rate(lambda: optimizer.step(closure), members, steps, clock)


def _loop(name: str, members: int, device: str, steps: int) -> Callable[[], float]:
    """The same of a loop over lone optimizers."""
    weights, x, y = draw(members)
    x, y, each = x.to(device), y.to(device), []
    for i in range(members):
        lone = [one[i].to(device, copy=True).requires_grad_() for one in weights]
        each.append((optimizers.make(name, lone), closure_of(lone, x[i], y[i])))

    def step() -> None:
        for optimizer, closure in each:
            optimizer.step(closure)

    return _rate(step, members, steps, _clock(device))


def _rate(step: Callable[[], object], members: int, steps: int, clock: Clock) -> Callable[[], float]:
    _times(step, 20)

    def rate() -> float:
        start = clock()
        _times(step, steps)
        return members * steps / (clock() - start)

    return rate


def populations() -> Iterator[Measure]:
    """64 networks as one population against a loop of 64 lone optimizers, gradients included: more is better."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    named = torch.cuda.get_device_name() if device == "cuda" else ""
    for name in ("asnaq", "olmoq", "adam"):
        yield Measure(
            f"{name}, population of 64, gradients included", "steps/s", _population(name, 64, device, 20),
            _loop(name, 64, device, 10), "64 lone optimizers",
            {"kind": "population", "method": name, "members": 64, "n": 4806, "device": device}, named,
        )  # fmt: skip
