"""What a training run needs to know; the command line is derived from it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import optimizers
from routing_env import Problem, read_problem
from routing_env.decompose import Decomposition
from routing_env.generators.published import published
from routing_env.plugins import nearest, pick

__all__ = ["TrainConfig", "check_optimizer", "parse_options", "problem_of"]


Initialisation = Literal["he", "published", "torch"]
Loss = Literal["huber", "squared", "published"]
SHARED = ("max_steps", "via_capacity", "keep_failed", "decomposition")
"""settings that the environment takes under the same names"""


@dataclass(frozen=True)
class TrainConfig:
    """One double-DQN agent on one netlist."""

    netlist: str = "published:0"
    """a netlist file, or published:SEED for a netlist of the published kind (8 x 8 x 2, 50 two-pin nets)"""
    optimizer: str = "torch.adam"
    """optimizer by name; torch.NAME are torch's"""
    option: tuple[str, ...] = ()
    """options of the optimizer as NAME=VALUE"""
    learning_rate: float | None = None
    """step size; none for the optimizer's own default"""
    final_rate: float = 0.1
    """share of the learning rate that is left after the last pass; in between it falls linearly"""
    passes: int = 500
    """passes over the netlist, all environments together"""
    seed: int = 0
    """seed of the weights, exploration and replay"""
    environments: int = 1
    """copies of the netlist routed at the same time"""

    observation: str = "corridors"
    """what the agent sees: published, scaled, corridors or window"""
    reward: str = "scarcity"
    """what it is paid: published, scarcity or overflow"""
    reward_option: tuple[str, ...] = ()
    """numbers of the reward as NAME=VALUE"""
    reward_scale: float = 0.1
    """factor on rewards before they are learnt from"""
    max_steps: int | None = None
    """moves a connection may take; none for 50 on 8 x 8 tiles, 3 (columns + rows) on larger grids"""
    via_capacity: int | None = None
    """wires on one via; none for no limit"""
    keep_failed: bool = True
    """whether wires of a connection given up stay until the pass ends"""
    decomposition: Decomposition = "spanning"
    """how nets of more than two pins become connections: spanning (as published) or steiner"""

    hidden: tuple[int, ...] = (64, 64)
    """sizes of the hidden layers"""
    dueling: bool = False
    """whether the network gives a value and the advantage of each move"""
    initialisation: Initialisation = "he"
    """first weights: he, published (uniform within 0.5) or torch"""
    loss: Loss = "huber"
    """loss of the temporal-difference error"""
    gamma: float = 0.9
    """discount per move"""
    batch: int = 128
    """transitions per update"""
    replay: int = 50_000
    """transitions kept"""
    n_step: int = 1
    """moves that a return covers before the value of the next state is used"""
    priority: float = 0.0
    """exponent of the error in the probability of drawing a transition; 0 draws uniformly"""
    learning_starts: int = 500
    """moves made at random before the first update"""
    train_every: int = 4
    """moves of each environment between updates"""
    updates: int = 1
    """updates each time"""
    target_every: int = 100
    """moves between updates of the target network"""
    target_connections: int | None = None
    """if given, connections between updates of the target network, instead of moves"""
    tau: float = 1.0
    """how far the target network is moved: 1 copies"""
    max_grad_norm: float = 10.0
    """gradients are clipped to this norm"""
    masked: bool = True
    """whether moves that change nothing are left out of exploration, choice and target"""
    epsilon_start: float = 0.3
    """share of random moves at first"""
    epsilon_end: float = 0.01
    """share of random moves later on"""
    epsilon_fraction: float = 0.01
    """share of the passes over which the one goes over to the other"""
    demonstrations: int = 0
    """how often the A* routes of the netlist are put into the replay before training"""

    checkpoint_seconds: float = 30.0
    """time between checkpoints"""
    tensorboard: bool = True
    """whether curves are written for TensorBoard"""

    def __post_init__(self) -> None:
        """Check every value that has a rule."""
        whole = ("passes", "environments", "batch", "replay", "n_step", "train_every", "updates", "target_every")
        optional = [
            name for name in ("max_steps", "via_capacity", "target_connections") if getattr(self, name) is not None
        ]
        self._check((*whole, *optional), lambda value: value >= 1, "be at least 1")
        shares = ("gamma", "tau", "priority", "epsilon_start", "epsilon_end", "epsilon_fraction", "final_rate")
        self._check(shares, lambda value: 0 <= value <= 1, "lie in [0, 1]")
        self._check(("demonstrations", "learning_starts"), lambda value: value >= 0, "be at least 0")
        rate = () if self.learning_rate is None else ("learning_rate",)
        self._check((*rate, "max_grad_norm", "checkpoint_seconds"), lambda value: value > 0, "be positive")
        self._check(("hidden",), lambda sizes: len(sizes) > 0 and min(sizes) >= 1, "be sizes of at least 1")
        self._check(("loss",), lambda kind: kind in get_args(Loss), f"be one of {', '.join(get_args(Loss))}")
        cuts = get_args(Decomposition)
        self._check(("decomposition",), lambda kind: kind in cuts, f"be one of {', '.join(cuts)}")
        kinds = get_args(Initialisation)
        self._check(("initialisation",), lambda kind: kind in kinds, f"be one of {', '.join(kinds)}")
        pick("observations", self.observation)
        check_optimizer(self.optimizer, self.optimizer_options)
        self.reward_object()

    def _check(self, names: tuple[str, ...], holds: Callable[[Any], bool], rule: str) -> None:
        for name in names:
            if not holds(getattr(self, name)):
                raise ValueError(f"{name} must {rule}, got {getattr(self, name)!r}")

    def reward_object(self) -> Any:
        """The reward with its numbers.

        Raises:
            ValueError: the reward has no such number.
        """
        made = pick("rewards", self.reward)
        known = [field.name for field in fields(made)]
        chosen = parse_options(self.reward_option)
        for name in chosen:
            if name not in known:
                raise ValueError(
                    f"reward {self.reward} has no {name!r}{nearest(name, known)}; it has: {', '.join(known)}"
                )
            if isinstance(chosen[name], bool) or not isinstance(chosen[name], int | float):
                raise ValueError(f"reward {self.reward}: {name} must be a number, got {chosen[name]!r}")
        return made(**chosen)

    def env_options(self) -> dict[str, Any]:
        """The environment's arguments."""
        kept = {name: getattr(self, name) for name in (*SHARED, "observation")}
        return kept | {"reward": self.reward_object()}

    @property
    def optimizer_options(self) -> dict[str, Any]:
        """The options as a dictionary.

        Raises:
            ValueError: one is not NAME=VALUE.
        """
        return parse_options(self.option)


def check_optimizer(name: str, options: dict[str, Any]) -> None:
    """See whether an optimizer has these options and can minimise the loss of an agent, which is a number.

    Raises:
        ValueError: no such optimizer, or one that needs more than the loss; the text says what.
        TypeError: an option that it does not have.
    """
    optimizers.check_options(name, options)
    kind = optimizers.pick(name)
    if getattr(kind, "needs_model", False):
        raise ValueError(f"optimizer {name!r} takes a model apart layer by layer; an agent hands it a loss alone")
    if getattr(kind, "residuals", False):
        raise ValueError(f"optimizer {name!r} solves least squares from residuals; an agent hands it a loss alone")
    if (optimizers.default_options(name) | options).get("product") == "gauss_newton":
        raise ValueError(f"optimizer {name!r} needs the network's outputs for product=gauss_newton; an agent hands it "
                         "a loss alone: take product=hessian")  # fmt: skip


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a dictionary; values are Python literals, else text.

    Raises:
        ValueError: one is not NAME=VALUE.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"option {text!r} is not NAME=VALUE")
        name = name.strip().replace("-", "_")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options


def problem_of(netlist: str) -> Problem:
    """The problem of a netlist file or of ``published:SEED``.

    Raises:
        ValueError: the seed is no number.
        FormatError, OSError: the file cannot be read.
    """
    kind, colon, seed = netlist.partition(":")
    if kind == "published" and colon:
        if not seed.isdigit():
            raise ValueError(f"netlist {netlist!r}: the seed must be a whole number, got {seed!r}")
        return published(seed=int(seed))
    return read_problem(netlist)
