"""Global routing: problems, rules, environments, routers and scores."""

import gymnasium as _gymnasium

from routing_env import metrics, routers
from routing_env.formats import (
    FormatError,
    OfficialScore,
    official_score,
    parse_problem,
    read_problem,
    read_solution,
    write_problem,
    write_solution,
)
from routing_env.problem import Adjustment, Layer, Net, Problem, ProblemError
from routing_env.solution import Solution

__all__ = [
    "Adjustment",
    "FormatError",
    "Layer",
    "Net",
    "OfficialScore",
    "Problem",
    "ProblemError",
    "Solution",
    "metrics",
    "official_score",
    "parse_problem",
    "read_problem",
    "read_solution",
    "routers",
    "write_problem",
    "write_solution",
]

_gymnasium.register(
    id="GlobalRouting-v0",
    entry_point="routing_env.gym_env:GlobalRouting",
    vector_entry_point="routing_env.vector_env:GlobalRoutingVector",
)
