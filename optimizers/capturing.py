"""Which optimizers make steps that a CUDA graph can hold: see "CUDA graphs" in docs/optimizers.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optimizers
from optimizers.first_order._elementwise import Elementwise
from optimizers.quasi_newton._engine import Online
from optimizers.quasi_newton._fisher import Fisher
from optimizers.quasi_newton._trust import TrustRegion

__all__ = ["obstacle"]


def obstacle(name: str, options: Mapping[str, Any]) -> str | None:
    """Why a CUDA graph cannot hold the steps of an optimizer with these options; None where it can."""
    kind, chosen = optimizers.pick(name), optimizers.default_options(name) | dict(options)
    if "seed" in chosen:
        return f"optimizer {name!r} draws random numbers on the host"
    if "capturable" in chosen:
        if not chosen["capturable"]:
            return f"optimizer {name!r} reads from the device without its option capturable=True"
    elif not (issubclass(kind, Elementwise | Online | Fisher) or stochastic_region(kind)):
        return f"optimizer {name!r} reads from the device"
    return None


def stochastic_region(kind: type) -> bool:
    """Whether it is a trust-region method for batches that change: no search reads from the device."""
    return issubclass(kind, TrustRegion) and kind.stochastic
