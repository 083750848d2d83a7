"""Problems made in Python keep the rules that files are held to."""

import re

import numpy as np
import pytest

from routing_env import Adjustment, Layer, Net, Problem, ProblemError

PAIR = (Layer(2, 0), Layer(0, 2))
NET = Net("a", "0", ((0, 0, 1), (29, 19, 2)))


def made(**changes):
    values = {"width": 3, "height": 2, "layers": PAIR, "nets": (NET,), "tile_size": (10, 10)}
    return Problem(**(values | changes))


def test_a_pin_lies_in_the_tile_below_it():
    problem = made(origin=(-5, 0), nets=())
    assert problem.tile_of((-1, 19, 2)) == (0, 1, 1)
    assert problem.tiles(Net("b", "1", ((0, 0, 1), (4, 9, 1), (5, 0, 1)))) == ((0, 0, 0), (1, 0, 0))


def test_lists_and_numpys_integers_are_taken_and_equal_tuples():
    pin = tuple(np.array([0, 0, 1]))
    assert made(nets=[Net("a", "0", (pin, (29, 19, 2)))], layers=list(PAIR)) == made()


def test_the_name_is_no_part_of_the_problem():
    assert made(name="one") == made(name="two")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "grid 0 x 2 x 2: every side must be at least 1"),
        ({"layers": ()}, "every side must be at least 1"),
        ({"width": 2.0}, "a value is a float; every number must be an integer"),
        ({"width": 10**4, "height": 10**4}, "more than 16,000,000 tiles"),
        ({"layers": PAIR * 501}, "more than 1,000 layers"),
        ({"tile_size": (10, 0)}, "tile size (10, 0): both sides must be at least 1"),
        ({"origin": (-(10**12) - 1, 0)}, "the grid leaves +-1,000,000,000,000"),
        ({"layers": (Layer(-1, 0),)}, "layer 1: horizontal_capacity -1 lies outside 0..1000000000"),
        ({"layers": (*PAIR, Layer(1, 1, min_width=2 * 10**9))}, "layer 3: min_width 2000000000 lies outside"),
        ({"layers": (Layer(1.5, 0),)}, "layer 1: horizontal_capacity: a value is a float"),
        ({"nets": (NET, NET)}, "net name 'a' occurs twice"),
        ({"nets": (Net("a b", "0", ()),)}, "net name 'a b' is empty, holds white space"),
        ({"nets": (Net("", "0", ()),)}, "net name '' is empty"),
        ({"nets": (Net("a\ud800", "0", ()),)}, "what does not print"),
        ({"nets": (Net("!", "0", ()),)}, "net name '!' reads as the end or a segment of a route"),
        ({"nets": (Net("a" * 1001, "0", ()),)}, "is longer than 1,000 characters"),
        ({"nets": (Net(7, "0", ()),)}, "net name '7' is empty, holds white space"),
        ({"nets": (Net("a", 7, ()),)}, "net 'a': id '7' is not a text of 1 to 18 digits"),
        ({"nets": (Net("a", "", ()),)}, "net 'a': id '' is not a text of 1 to 18 digits"),
        ({"nets": (Net("a", "0", (), -1),)}, "net 'a': minimum width -1 lies outside"),
        ({"nets": (Net("a", "0", (0, 0, 1)),)}, "net 'a': pins (0, 0, 1) are not tuples (x, y, layer)"),
        ({"nets": (Net("a", "0", ((0, 0),)),)}, "net 'a': pin (0, 0) is not (x, y, layer)"),
        ({"nets": (Net("a", "0", ((0, 0.0, 1),)),)}, "net 'a': pin: a value is a float"),
        ({"nets": (Net("a", "0", ((30, 0, 1),)),)}, "pin (30, 0, 1) lies outside the 3 x 2 x 2 grid, x 0..29, y 0..19"),
        ({"adjustments": (Adjustment((0, 0, 0), (0, 0, 1), 1),)}, "(0, 0, 0) and (0, 0, 1) are not neighbours on one"),
        ({"adjustments": (Adjustment((2, 0, 0), (3, 0, 0), 1),)}, "tile (3, 0, 0) lies outside"),
        ({"adjustments": (Adjustment((0, 0, 0), (1, 0, 0), -1),)}, "capacity -1 lies outside"),
    ],
)
def test_a_broken_rule_is_named_with_its_value(changes, message):
    with pytest.raises(ProblemError, match=re.escape(message)):
        made(**changes)
