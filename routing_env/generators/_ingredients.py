"""What the generators share: checked arguments, stacks of layers, pins."""

from __future__ import annotations

from collections.abc import Iterable

from routing_env.problem import MOST_LAYERS, Layer, Net

__all__ = ["TILE", "Pins", "check_share", "check_whole", "named", "stack"]

Pins = list[tuple[int, int, int]]

TILE = 10
"""side of a tile in length units, as in the published sets"""


def check_whole(least: int, most: int | None = None, **values: int) -> None:
    """Refuse what is no whole number in ``least`` .. ``most``; the keywords name the arguments.

    Raises:
        ValueError: names argument, value and rule.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
        if value < least or (most is not None and value > most):
            rule = f"at least {least}" if most is None else f"in {least}..{most}"
            raise ValueError(f"{name} must be {rule}, got {value}")


def check_share(**values: float) -> None:
    """Refuse what is no number in 0 .. 1.

    Raises:
        ValueError: names argument, value and rule.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in 0..1, got {value!r}")


def stack(layers: int, capacity: int) -> tuple[Layer, ...]:
    """Layers that are horizontal, vertical, horizontal ... from the lowest; a single one allows both directions."""
    check_whole(1, MOST_LAYERS, layers=layers)
    if layers == 1:
        return (Layer(capacity, capacity),)
    return tuple(Layer(capacity, 0) if z % 2 == 0 else Layer(0, capacity) for z in range(layers))


def named(pins: Iterable[Pins]) -> tuple[Net, ...]:
    """Nets A1, A2, ... with ids 1, 2, ... as in the published sets."""
    return tuple(Net(f"A{i}", str(i), tuple(net)) for i, net in enumerate(pins, 1))
