"""What a data set gives: pictures with their classes, or a text as symbols."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from torch import Tensor

__all__ = ["PictureSource", "Pictures", "Text", "TextSource"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures, split as their source splits them."""

    train_x: Tensor
    """float32 (n, channels, height, width) in [0, 1]"""
    train_t: Tensor
    """int64 (n,), a place in ``classes``"""
    test_x: Tensor
    test_t: Tensor
    name: str
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Text:
    """A text, cut once: what is before the cut trains, what is after it tests."""

    train: Tensor
    """int64 (n,), places in ``alphabet``"""
    test: Tensor
    alphabet: tuple[str, ...]
    """every character of the text, sorted"""
    name: str
    digest: str
    """SHA-256 of the whole text in UTF-8"""


class PictureSource(Protocol):
    """Where pictures come from."""

    @property
    def name(self) -> str:
        """The data set's name."""

    def missing(self) -> str:
        """What is missing and what brings it; an empty text where nothing is."""

    def load(self) -> Pictures:
        """Read and check all files."""


class TextSource(Protocol):
    """Where a text comes from."""

    def load(self) -> Text:
        """Read the text."""
