"""Imports point one way, and the packages import what they say they do and no more."""

import ast
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "routing_env": set(),
    "optimizers": set(),
    "agents": {"routing_env", "optimizers"},
    "benchmarks": {"routing_env", "optimizers", "agents"},
    "scripts": {"routing_env", "optimizers", "agents", "benchmarks"},
}
STABLE_BASELINES = {f"agents/{name}.py" for name in ("double_dqn", "sb3_vec_env", "networks", "training")}
STABLE_BASELINES |= {"benchmarks/speed.py", "benchmarks/timing/agent_populations.py"}  # time its stock DQN beside ours


def imported(source: str) -> set[str]:
    """The first part of every module that a source imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def wrong_arrows(path: str, source: str) -> list[str]:
    """What a file, named from the root, should not import."""
    package, modules = path.partition("/")[0], imported(source)
    ours = modules & (set(MAY_IMPORT) | {"tests"})
    wrong = ours - MAY_IMPORT[package] - {package}
    if package == "routing_env" and path != "routing_env/device_env.py":
        wrong |= modules & {"torch"}
    if package == "optimizers":
        compiled = {"numba", "numpy"} if Path(path).name.startswith("_host") else set()
        wrong |= modules - set(sys.stdlib_module_names) - {"torch", "optimizers"} - compiled
    if path not in STABLE_BASELINES:
        wrong |= modules & {"stable_baselines3"}
    return sorted(wrong)


def sources():
    return [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
    assert wrong_arrows(path.relative_to(ROOT).as_posix(), path.read_text()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_files_of_benchmarks_itself_are_commands(path):
    assert '\nif __name__ == "__main__":\n' in path.read_text()


def test_every_folder_with_sources_is_installed():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    for folder in {path.parent for path in sources()} - {ROOT / "scripts"}:
        package = ".".join(folder.relative_to(ROOT).parts)
        assert any(fnmatch(package, pattern) for pattern in told["include"])
        assert (folder / "__init__.py").exists(), "setuptools does not look into a folder without"


def test_every_package_has_files():
    assert {path.relative_to(ROOT).parts[0] for path in sources()} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("routing_env/a.py", "import agents.td", ["agents"]),
        ("routing_env/a.py", "def f():\n    from benchmarks import tables", ["benchmarks"]),
        ("routing_env/a.py", "from torch.nn import Linear", ["torch"]),
        ("routing_env/a.py", "import optimizers", ["optimizers"]),
        ("routing_env/device_env.py", "import torch\nfrom routing_env import rules", []),
        ("routing_env/a.py", "from . import rules\nimport numpy", []),
        ("optimizers/a.py", "import numpy as np", ["numpy"]),
        ("optimizers/a.py", "import torch\nimport math\nfrom optimizers import names", []),
        ("optimizers/first_order/a.py", "try:\n    import routing_env\nexcept ImportError:\n    pass", ["routing_env"]),
        ("agents/a.py", "import benchmarks, scripts.train", ["benchmarks", "scripts"]),
        ("agents/a.py", "if True:\n    from stable_baselines3.common import utils", ["stable_baselines3"]),
        ("agents/networks.py", "import stable_baselines3", []),
        ("benchmarks/a.py", "import scripts, agents", ["scripts"]),
        ("scripts/a.py", "import benchmarks, agents, routing_env, optimizers", []),
        ("scripts/a.py", "from tests import boards", ["tests"]),
    ],
)
def test_a_planted_arrow_is_found(path, source, wrong):
    assert wrong_arrows(path, source) == wrong
