"""Two processes, each with half of the batch, are one process with all of it."""

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from training import METHODS, Toy, folder, in_populations, needs_model, residuals, run

from optimizers import pick

STEPS = 12
NAN_STEPS = 4
SUPPORTED = [name for name in METHODS if hasattr(pick(name), "distribute")]
CASES = [(name, which) for name in SUPPORTED for which in ([0, [0, 1]] if in_populations(name) else [0])]


def options(name):
    """A random diagonal depends on the rows that a process has."""
    return {"preconditioner": "none"} if "preconditioner" in pick(name).options() else {}


def key(name, which):
    return f"{name} {which}"


def trajectories(rank, processes):
    """The weights of every method after each step, as one process of several sees them."""
    found = {}
    for name, which in CASES:
        toy = Toy(name, which, share=(rank, processes))
        optimizer = toy.make(**options(name))
        if processes > 1:
            optimizer.distribute()
        try:
            found[key(name, which)] = run(toy, optimizer, STEPS)
            # what one process meets, all skip
            spoilt = torch.full(toy.members, float("nan" if rank == processes - 1 else 1), dtype=torch.float64)
            ill = run(toy, optimizer, NAN_STEPS, first=STEPS, value=spoilt)
            found[key(name, which) + " nan"] = ill
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            found[key(name, which)] = f"{type(error).__name__}: {error}"
    return found


def child(rank, folder_name):
    import torch.distributed as distributed

    torch.set_num_threads(1)
    store = distributed.FileStore(str(Path(folder_name) / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.save(trajectories(rank, 2), Path(folder_name) / f"{rank}.pt")
    distributed.destroy_process_group()


@functools.cache
def two_processes():
    """What both processes found."""
    with tempfile.TemporaryDirectory() as folder_name:
        started = [
            subprocess.Popen([sys.executable, __file__, str(rank), folder_name], stderr=subprocess.PIPE, text=True)
            for rank in range(2)
        ]
        for one in started:
            _, errors = one.communicate(timeout=300)
            assert one.returncode == 0, errors
        return [torch.load(Path(folder_name) / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize(("name", "which"), CASES)
def test_two_processes_with_half_of_the_batch_are_one_with_all(name, which):
    first, second = (found[key(name, which)] for found in two_processes())
    assert isinstance(first, torch.Tensor), first
    assert torch.equal(first, second), "both take the same decisions on the same numbers"
    toy = Toy(name, which)
    found = run(toy, toy.make(**options(name)), STEPS)
    # at a minimum, also that of a line, losses differ by rounding alone, which then decides
    far = found.diff(dim=0).flatten(1).norm(dim=-1) > 1e-6
    moving = 1 if name == "steepest_descent" else 1 + int(far.long().cumprod(0).sum())
    # least squares join the triangular factors of two halves, which round unlike the factor of the whole
    close = 1e-8 if residuals(name) else 1e-10
    torch.testing.assert_close(first[:moving], found[:moving], rtol=0, atol=close)
    torch.testing.assert_close(first, found, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("name", "which"), CASES)
def test_what_is_not_finite_in_one_process_moves_none(name, which):
    found = [one[key(name, which) + " nan"] for one in two_processes()]
    before = two_processes()[0][key(name, which)][-1]
    assert torch.equal(found[0], found[1])
    assert torch.isfinite(found[0]).all()
    assert torch.equal(found[0][0], before)


def test_only_methods_that_say_so_do_without_processes():
    for name in set(METHODS) - set(SUPPORTED):
        assert needs_model(name), folder(name)
        assert "Not for several processes" in pick(name).__doc__


if __name__ == "__main__":
    child(int(sys.argv[1]), sys.argv[2])
