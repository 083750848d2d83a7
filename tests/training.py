"""Toy problems and runs for tests of any optimizer: what a method needs is read from its class."""

import functools
import inspect

import torch
from torch import nn

from optimizers import names, pick
from optimizers.quasi_newton._engine import Online
from optimizers.quasi_newton._fisher import Fisher

METHODS = [name for name in names() if not name.startswith("torch.")]
ROWS = 8  # residuals, which are the batch
SHAPES = ((3,), (2, 2))


def folder(name):
    return pick(name).__module__.split(".")[1]


def stochastic(name):
    """Whether the batch may change from step to step."""
    kind = pick(name)
    told = getattr(kind, "stochastic", None)
    if told is not None:
        return told
    small = folder(name) in ("first_order", "learned") and name != "steepest_descent"
    return small or needs_model(name) or "schedule" in kind.options() or issubclass(kind, (Online, Fisher))


def residuals(name):
    return getattr(pick(name), "residuals", False)


def needs_model(name):
    return getattr(pick(name), "needs_model", False)


def in_parts(name):
    """Whether the closure takes the number of a sub-batch."""
    return getattr(pick(name), "needs_parts", False)


def outputs(name):
    """Whether the closure returns the model's outputs beside the loss."""
    return pick(name).options().get("product") == "gauss_newton"


def seeds(name):
    """Whether members may have seeds of their own."""
    found = inspect.signature(pick(name)).parameters.get("seed")
    return found is not None and "Sequence" in str(found.annotation)


def in_populations(name):
    return pick(name).populations and "member_dims" in pick(name).options()


def has(option):
    return [name for name in METHODS if option in pick(name).options()]


@functools.cache
def network_weights(kind, dtype):
    """Weights of a learned optimizer that leave nothing zero."""
    generator = torch.Generator().manual_seed(0)
    fresh = kind.core.fresh(generator)
    return {
        key: one.to(dtype) + 0.3 * torch.randn(one.shape, generator=generator, dtype=dtype)
        for key, one in fresh.items()
    }


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plus(x):
    """The sum along the last axis, term by term: the same bits wherever a member lies."""
    total, *others = x.unbind(-1)
    for one in others:
        total = total + one
    return total


class Toy:
    """A smooth least-squares problem of seven weights in two tensors, or of a small network for methods that need one.

    r = z + tanh(z) / 5 - c with z = A w, and the loss mean(r^2) / 2. Batch k of a stochastic method has its own c.

    Args:
        name: the method.
        which: the number of a problem; several for a population.
        share: (rank, processes): which rows of the batch are seen.
    """

    def __init__(self, name, which=0, device="cpu", dtype=torch.float64, share=(0, 1)):
        self.name, self.which, self.device, self.dtype = name, which, device, dtype
        self.stacked, self.moving = not isinstance(which, int), stochastic(name)
        numbers = which if self.stacked else [which]
        self.members = (len(numbers),) if self.stacked else ()
        rank, processes = share
        self.rows = slice(rank, None, processes)
        n = 3 if needs_model(name) else 7
        self.A = self._stack([normal(100 + i, ROWS, n) for i in numbers])
        self.c = self._stack([normal(200 + i, ROWS) for i in numbers])
        self.start = [self._stack([normal(300 + i, *shape) for i in numbers]) for shape in SHAPES]

    def _stack(self, found):
        return (torch.stack(found) if self.stacked else found[0]).to(self.device, self.dtype)

    # ---- making

    def params(self):
        return [one.clone().requires_grad_() for one in self.start]

    def model(self):
        torch.manual_seed(self.which)
        return nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)).to(self.device, self.dtype)

    def options(self, **options):
        kind = pick(self.name)
        if "weights" in kind.options():
            options = {"weights": network_weights(kind, self.dtype), **options}
        if self.stacked:
            options = {"member_dims": 1, **options}
        if seeds(self.name):  # random numbers of its own for each member
            options.setdefault("seed", self.which)
        return options

    def make(self, groups=None, extra=(), **options):
        """A fresh optimizer: ``groups`` are options of each half of the tensors, ``extra`` are more parameters."""
        options = self.options(**options)
        if needs_model(self.name):
            options["model"] = self.model()
            params = list(options["model"].parameters())
        else:
            params = self.params()
        params += extra
        if groups is not None:
            half = len(params) // 2
            params = [
                {"params": some, **group} for some, group in zip((params[:half], params[half:]), groups, strict=True)
            ]
        return pick(self.name)(params, **options)

    # ---- the loss

    def residuals(self, optimizer, batch):
        params = [one for group in optimizer.param_groups for one in group["params"]]
        target = self.c
        if self.moving:
            phase = torch.arange(ROWS, dtype=self.dtype, device=self.device)
            target = target + 0.1 * torch.sin(5.0 * batch + 2.0 * phase)
        if needs_model(self.name):
            return (optimizer.model(self.A).squeeze(-1) - target)[..., self.rows]
        w = torch.cat([one.reshape(*self.members, -1) for one in params[: len(SHAPES)]], -1)
        z = plus(self.A * w.unsqueeze(-2))
        return (z + torch.tanh(z) / 5 - target)[..., self.rows]

    def closure(self, optimizer, batch=0, *, sign=1.0, decay=0.0, value=None, slope=None):
        """The closure that the method wants.

        Args:
            sign: factor of the loss; decay: decay / 2 ||w||^2 is added.
            value, slope: factors (*members,) of loss and of gradient alone, to spoil them.
        """
        params = [one for group in optimizer.param_groups for one in group["params"]]

        def spoilt(part=0):
            r = self.residuals(optimizer, batch + part)
            if value is not None:
                r = r * value.unsqueeze(-1)
            if slope is not None:
                r.register_hook(lambda gradient: gradient * slope.unsqueeze(-1))
            return r

        def with_decay():
            r = spoilt()
            parts = [one.reshape(*self.members, -1) for one in params] if decay else []
            return torch.cat([r, *(decay**0.5 * one for one in parts)], -1)

        if residuals(self.name):
            return with_decay

        def closure(backward=True, part=0):
            optimizer.zero_grad()
            r = spoilt(part)
            loss = 0.5 * plus(r * r) / r.shape[-1]
            if decay:
                loss = loss + 0.5 * decay * sum(plus(one.reshape(*self.members, -1) ** 2) for one in params)
            loss = loss * sign
            if backward:
                loss.sum().backward()
            return (loss, r) if outputs(self.name) else loss

        return closure if in_parts(self.name) else lambda backward=True: closure(backward)

    def loss(self, optimizer):
        """The loss of batch 0, (*members,)."""
        with torch.no_grad():
            r = self.residuals(optimizer, 0)
            return 0.5 * plus(r * r) / r.shape[-1]


def weights(optimizer):
    """All weights, (*members, n), a copy."""
    params = [one for group in optimizer.param_groups for one in group["params"]]
    members = params[0].shape[: optimizer.param_groups[0].get("member_dims", 0)]
    return torch.cat([one.detach().reshape(*members, -1) for one in params], -1)


def run(toy, optimizer, steps, first=0, before=None, **spoil):
    """The weights after each of ``steps`` steps from number ``first``: (steps, *members, n).

    ``before`` is called with the step's number before each.
    """
    found = []
    for k in range(first, first + steps):
        if before is not None:
            before(k)
        optimizer.step(toy.closure(optimizer, k, **spoil))
        found.append(weights(optimizer))
    return torch.stack(found) if found else weights(optimizer)[None][:0]
