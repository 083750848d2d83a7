"""Small products in vector instructions against numpy, for every kind of tile, on wide and narrow registers."""

import os
import subprocess
import sys

import numpy as np
import pytest

from agents.products import REGISTER, product, transposed

SHAPES = [
    (1, 1, 1),
    (2, 5, 3),
    (4, 0, 7),
    (7, 9, 16),
    (8, 12, 32),
    (9, 32, 33),
    (13, 31, 37),
    (32, 64, 32),
    (33, 3, 70),
]
ROUNDING = {"float32": 1e-5, "float64": 1e-13}
GUARD = 32
"""numbers before and behind a result that have to stay"""


def numbers(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def product_of(x, w, first, floor, turned=False, shift=0):
    """What ``product`` writes, at an address that is ``shift`` elements off."""
    rows, columns = len(x), w.shape[1]
    out = np.full(rows * columns + 2 * GUARD, 77.0, x.dtype)
    lying = np.ascontiguousarray(x.T if turned else x)
    strides = (1, rows) if turned else (x.shape[1], 1)
    at = out.ctypes.data + (GUARD + shift) * out.itemsize
    product(out, lying.ctypes.data, *strides, w.ctypes.data, first.ctypes.data, at, rows, len(w), columns, floor)
    end = GUARD + shift + rows * columns
    assert (out[: GUARD + shift] == 77).all()
    assert (out[end:] == 77).all()
    return out[GUARD + shift : end].reshape(rows, columns)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_products_are_those_of_numpy(shape, turned, dtype):
    rows, inner, columns = shape
    x, w, first = numbers((rows, inner), dtype, 1), numbers((inner, columns), dtype, 2), numbers(columns, dtype, 3)
    expected = x.astype(np.float64) @ w.astype(np.float64) + first
    close = {"rtol": 0, "atol": ROUNDING[dtype] * (1 + np.sqrt(inner))}
    found = product_of(x, w, first, -np.inf, turned)
    np.testing.assert_allclose(found, expected, **close)
    np.testing.assert_allclose(product_of(x, w, first, 0.0, turned), np.maximum(expected, 0), **close)
    for shift in (1, 3, 8):
        assert (product_of(x, w, first, -np.inf, turned, shift) == found).all(), "the place in memory changes nothing"


@pytest.mark.parametrize("dtype", ROUNDING)
def test_a_row_is_the_same_alone_and_among_others(dtype):
    x, w, first = numbers((21, 19), dtype, 4), numbers((19, 41), dtype, 5), numbers(41, dtype, 6)
    together = product_of(x, w, first, -np.inf)
    for row in range(21):
        assert (product_of(x[row : row + 1], w, first, -np.inf)[0] == together[row]).all()


@pytest.mark.parametrize("columns", [3, 32, 50])
def test_what_is_not_a_number_goes_through_a_relu(columns):
    x, w, first = np.ones((9, 2)), np.ones((2, columns)), np.full(columns, -5.0)
    x[4, 1] = np.nan
    x[6, 0] = np.inf
    found = product_of(x, w, first, 0.0)
    assert np.isnan(found[4]).all()
    assert (found[6] == np.inf).all()
    assert (np.delete(found, (4, 6), axis=0) == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (16, 16), (17, 35), (64, 32), (32, 6), (8, 24)], ids=str)
@pytest.mark.parametrize("dtype", ROUNDING)
def test_turned_matrices_are_those_of_numpy(shape, dtype):
    x = numbers(shape, dtype, 7)
    out = np.full(x.size + 2 * GUARD, 77.0, dtype)
    transposed(out, x.ctypes.data, out.ctypes.data + GUARD * out.itemsize, *shape)
    assert (out[GUARD:-GUARD].reshape(x.T.shape) == x.T).all()
    assert (out[:GUARD] == 77).all()
    assert (out[-GUARD:] == 77).all()


@pytest.mark.skipif(REGISTER == 32, reason="registers of this processor are narrow anyway")
def test_processors_with_narrow_registers():
    """The same tests compiled for such a processor, in a process of their own."""
    env = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+popcnt"}
    tests = [__file__, "-k", "numpy or alone or relu", "-p", "no:cacheprovider"]
    ended = subprocess.run([sys.executable, "-m", "pytest", *tests], capture_output=True, text=True, env=env)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "passed" in ended.stdout
    asked = "from agents.products import REGISTER; print(REGISTER)"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, env=env).stdout == "32\n"
