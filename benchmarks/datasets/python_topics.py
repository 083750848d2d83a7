"""Python topics: the language reference of the running Python, as ``help()`` prints it; without a download.

Topics in alphabetical order, a newline after each; the first nine tenths of the characters train. Another Python has
another text: results compare where the digest is the same.

Source: pydoc_data.topics of the standard library.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from benchmarks.datasets._cache import digest
from benchmarks.datasets._kinds import Text

__all__ = ["PYTHON_TOPICS"]


@dataclasses.dataclass(frozen=True)
class _PythonTopics:
    name: str = "python-topics"

    def load(self) -> Text:
        """The text as symbols.

        Raises:
            ModuleNotFoundError: this Python comes without its documentation.
        """
        try:
            from pydoc_data.topics import topics
        except ModuleNotFoundError as error:
            told = "this Python comes without pydoc_data, the text of help(): use one with the whole standard library"
            raise ModuleNotFoundError(told) from error
        return symbols("".join(topics[title] + "\n" for title in sorted(topics)), self.name)


def symbols(text: str, name: str) -> Text:
    """A text as symbols; the first nine tenths train."""
    alphabet = tuple(sorted(set(text)))
    place = {character: number for number, character in enumerate(alphabet)}
    numbers = torch.from_numpy(np.array([place[character] for character in text], dtype=np.int64))
    train, test = numbers.split([9 * len(text) // 10, len(text) - 9 * len(text) // 10])
    return Text(train, test, alphabet, name, digest(text.encode()))


PYTHON_TOPICS = _PythonTopics()
