"""The pictures of the routing study, from rows: equal rows give equal files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reporting.pictures import save
from benchmarks.study import figures
from benchmarks.study.tables import PUBLISHED_LIAO, Arms, read_arms, read_routers

__all__ = ["MAIN", "compared_sets", "draw"]

MAIN = "nets50"
"""the set of the published table"""
CURVES = ("published reward", "connections made, %")


def compared_sets(arms: Mapping[str, Arms]) -> list[str]:
    """The sets whose arms are compared, the main one first."""
    others = [name for name in arms if name != MAIN and name != "tuning" and name not in PUBLISHED_LIAO]
    return [name for name in (MAIN, *others) if arms.get(name)]


def draw(results: Path, folder: Path) -> list[Path]:
    """Draw curves and profiles of the rows of a folder; a file changes only where its picture does.

    Returns:
        The files; none where there are no rows.
    """
    arms, routers = read_arms(results), read_routers(results)
    compared = compared_sets(arms)
    if not compared:
        return []
    looks = figures.styles({label for name in compared for label in arms[name]})
    curves = Figure(figsize=(4.6 * len(compared), 5.6), layout="constrained", dpi=90)
    axes = curves.subplots(2, len(compared), squeeze=False)
    for column, name in enumerate(compared):
        for row, kind in enumerate(CURVES):
            ax = axes[row, column]
            figures.draw_curves(ax, arms[name], looks, kind, legend=row == 0)
            ax.set(title="" if row else name, ylabel="" if column else kind)
    name = compared[0]
    profile = Figure(figsize=(12, 3.8), layout="constrained", dpi=90)
    left, middle, right = profile.subplots(1, 3)
    figures.draw_profile_of_passes(left, arms[name], looks)
    figures.draw_profile_of_gaps(middle, arms[name], routers.get(name, {}), looks)
    figures.draw_gaps(right, arms[name], routers.get(name, {}), looks)
    return [save(curves, folder / "routing-curves.png"), save(profile, folder / "routing-profile.png")]
