"""What a process is told before it computes with populations."""

import numpy as np
import pytest
import torch

from agents.processor import subnormals_are_zero, without_subnormals
from optimizers.quasi_newton import _host


def test_subnormal_numbers_are_zero_inside_and_themselves_again_outside():
    small = torch.full((1, 40), 1e-39)
    assert not subnormals_are_zero()
    with without_subnormals() as able:
        if not able:
            pytest.skip("this processor keeps subnormal numbers")
        assert subnormals_are_zero()
        with without_subnormals():
            assert (small * 1.0 == 0).all()
        assert subnormals_are_zero(), "it was so before"
        total = np.zeros((1, 40), np.float32)
        _host._add(np.float32(1.0), small[0].numpy(), total[0])
        assert (total == 0).all(), "compiled loops too"
    assert not subnormals_are_zero()
    assert (small * 1.0 > 0).all()


def test_an_error_inside_leaves_the_thread_as_it_was():
    with pytest.raises(KeyError), without_subnormals():
        raise KeyError
    assert not subnormals_are_zero()
