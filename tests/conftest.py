"""One thread a library and no windows: set before the libraries are imported, and inherited by subprocesses."""

import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture
def one_thread():
    """torch in one thread, where populations are compiled; a test may change that."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
