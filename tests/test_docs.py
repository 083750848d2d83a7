"""docs/optimizers.md says what the methods are: its table against the classes and against runs, its examples run."""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from training import METHODS, Toy, in_populations, needs_model, residuals

from optimizers import pick

PAGE = Path(__file__).parent.parent / "docs" / "optimizers.md"
TEXT = PAGE.read_text()
STEPS = 21  # SQN aggregates every tenth


def table():
    """Name of a method -> its cells by column."""
    lines = TEXT[TEXT.index("| name | class |") :].partition("\n\n")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0].strip("`"): dict(zip(head, row, strict=True)) for row in rows}


TABLE = table()
every_method = pytest.mark.parametrize("name", METHODS)


def step(toy, optimizer, k, detached=False):
    inner = toy.closure(optimizer, k if toy.moving else 0)

    def closure(backward=True):
        loss = inner(backward)
        return loss.detach() if detached and not backward else loss

    if getattr(optimizer, "needs_parts", False):
        optimizer.step([inner] * 3)
    else:
        optimizer.step(inner if residuals(toy.name) or not detached else closure)


def steps(toy, optimizer, detached=False):
    for k in range(STEPS):
        step(toy, optimizer, k, detached)


def test_the_table_lists_every_method_once():
    names = re.findall(r"^\| `(\w+)` \| [A-Z]\w* \|", TEXT, re.MULTILINE)
    assert sorted(names) == sorted(METHODS)


def test_methods_that_the_guide_recommends_exist():
    guide = TEXT[TEXT.index("## Which one when") : TEXT.index("## All methods")]
    cells = [cell for line in guide.splitlines() if line.startswith("| ") for cell in line.split("|")[2:4]]
    named = {name for cell in cells for name in re.findall(r"`([a-z0-9_.]+)`", cell)}
    others = {"lam", "curvature", "schedule"}
    assert len(named - others) > 15
    for name in named - others:
        if not name.startswith("agents."):
            pick(name)


@every_method
def test_class_closure_and_populations_are_those_of_the_class(name):
    row, kind = TABLE[name], pick(name)
    assert row["class"] == kind.__name__
    assert row["populations"] == ("yes" if in_populations(name) else "no")
    assert (row["closure"] == "none") == (not kind.requires_closure)
    assert (row["closure"] == "residuals") == residuals(name)
    assert (row["closure"] == "three parts") == getattr(kind, "needs_parts", False)
    assert re.fullmatch("none|three parts|residuals|(same|full) batch(, graph)?", row["closure"])


@pytest.mark.parametrize("name", [name for name in METHODS if not residuals(name)])
def test_a_graph_is_needed_where_the_table_says_so(name):
    toy = Toy(name)
    options = {key: value for key, value in {"L": 2, "product": "hessian"}.items() if key in pick(name).options()}
    optimizer = toy.make(**options)
    if "product" in options:
        toy.name = "newton"  # whose closure returns the loss alone
    if TABLE[name]["closure"].endswith("graph"):
        with pytest.raises(TypeError, match="backward=False"):
            steps(toy, optimizer, detached=True)
    else:
        steps(toy, optimizer, detached=True)
        assert optimizer.counters()["k"] == STEPS


def expected(cell, optimizer, n):
    """How many evaluations a cell promises in most steps, None where it depends."""
    rows = 8
    if cell.endswith("every L"):
        return 0
    known = {"n": n, "m": optimizer.param_groups[0].get("m"), "min(N, n)": min(rows, n), "3 of b / 3": 3}
    return int(cell) if cell.isdigit() else known.get(cell)


@every_method
def test_evaluations_of_a_step_are_those_of_the_table(name):
    toy = Toy(name)
    optimizer = toy.make()
    found = {"n_gradients": Counter(), "n_losses": Counter(), "n_products": Counter()}
    for k in range(STEPS):
        before = optimizer.counters()
        step(toy, optimizer, k)
        for kind, counted in found.items():
            counted[optimizer.counters()[kind] - before[kind]] += 1
    n = sum(one.numel() for group in optimizer.param_groups for one in group["params"])
    for kind, column in zip(found, ("g", "f", "Hv"), strict=True):
        promised = expected(TABLE[name][column], optimizer, n)
        if promised is not None:
            assert found[kind].most_common(1)[0][0] == promised, (column, found[kind])
        else:
            assert max(found[kind]) >= 1, column
    for kind, column in (("n_losses", "f"), ("n_products", "Hv")):
        if TABLE[name][column].endswith("every L"):
            aggregations = STEPS // optimizer.param_groups[0]["L"] - 1  # nothing is compared at the first
            assert optimizer.counters()[kind] == int(TABLE[name][column].split()[0]) * aggregations
            assert optimizer.counters()["k"] == STEPS


@pytest.mark.parametrize("name", [name for name in METHODS if not needs_model(name)])
def test_storage_is_that_of_the_table(name):
    toy = Toy(name)
    optimizer = toy.make()
    for k in range(2):
        step(toy, optimizer, k)
    n = 7
    held = [
        one
        for key, one in optimizer.state["global"].items()
        if isinstance(one, torch.Tensor) and one.is_floating_point() and key != "returned"
    ]
    vectors = sum(one.numel() for one in held if n in one.shape)
    values = {key: optimizer.param_groups[0].get(key) for key in ("m", "mL", "mF")} | {"n": n}
    cell = TABLE[name]["storage"].replace("^", "**")
    product = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", cell)
    promised = eval(product, {"__builtins__": {}}, values)
    assert (vectors or sum(one.ndim == 0 for one in held)) == promised


def test_every_python_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), namespace)


def test_a_gradient_scaler_refuses_closures():
    w = torch.zeros(2, requires_grad=True)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(w.sum()).backward()
    with pytest.raises(RuntimeError, match="Closure use is not"):
        scaler.step(pick("olmoq")([w]), closure=lambda: None)
