"""Characters: recurrent networks predict the next character of a text.

``network=rnn5``: five layers of tanh units; ``network=lstm2``: two layers of LSTM cells; 64 units a layer in the
default size, 100 in the full one. The text is Python's own language reference, which every Python carries; nine tenths
train, the rest tests. Examples are 32 characters (full: 50) and the ones that follow each of them, batches of 32; every
example begins with a state of zero, so a loss is a function of weights and batch alone. Losses are nats a character,
tables and pictures also bits; they are measured on as many first examples of training and test text as the size says.

Source: Indrapriyadarsini et al., NOLTA 2019, 2020 (aSNAQ), figures of character-level language models, a recurrent
network of five layers and an LSTM of two.
Differs: the published figures come without numbers, and text, sizes of the layers and settings are not known to us.
mL = 10, mF = 100 and L = 5 are those of aSNAQ's description; learning rates are searched alike for all methods: seven,
each 10^(1/2) apart, with the seed 1,000 and two thirds of the default steps, and the least training loss counts
(benchmarks/results/tuning/characters.jsonl). The full size gets the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.datasets import Text, load_text
from benchmarks.experiment import Size
from benchmarks.recurrent_networks import Recurrent
from benchmarks.sequence_race import SequenceTask

__all__ = ["Characters", "examples"]

SAMPLE, PROMPT = 160, "The "
"""characters that a trained network writes, and after what"""


def examples(text: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """A text (n,) cut into examples (n', length) and the characters that follow each of theirs, (n', length)."""
    count = (len(text) - 1) // length
    x, t = (text[shift : shift + count * length].reshape(count, length) for shift in (0, 1))
    return x, t


@lru_cache(maxsize=1)
def _text(name: str) -> Text:
    return load_text(name)


class Characters(SequenceTask):
    """One trial."""

    name = "characters"
    title = "Characters: recurrent networks write"
    batch = 32
    sizes: ClassVar[dict[str, Size]] = {
        "fast": Size(8, 1, {"hidden": 8, "length": 16, "measured": 20}),
        "default": Size(600, 3, {"hidden": 64, "length": 32, "measured": 300}),
        "full": Size(20_000, 5, {"hidden": 100, "length": 50, "measured": 1_000}),
    }  # fmt: skip
    options: ClassVar[dict[str, Any]] = {"network": "rnn5"}
    choice = "network"
    rates: ClassVar[dict[str, dict[str, float]]] = {
        "rnn5": {"asnaq": 0.949, "adaqn": 0.01, "adagrad": 0.0316, "adam": 0.00316},
        "lstm2": {"asnaq": 0.949, "adaqn": 0.0316, "adagrad": 0.1, "adam": 0.0316},
    }
    other = ("test_bits", "bits a character of test text", False)

    def __init__(
        self, seeds: Sequence[int], steps: int, *, hidden: int, length: int, measured: int, network: str
    ) -> None:
        self.text = _text("python-topics")
        self.hidden, self.network, self.measured = hidden, network, measured
        self.test_x, self.test_t = (one[:measured] for one in examples(self.text.test, length))
        super().__init__(seeds, steps, *examples(self.text.train, length))

    def module(self) -> nn.Module:
        """Five layers of tanh units or two of LSTM cells, and a linear layer."""
        count = len(self.text.alphabet)
        if self.network == "rnn5":
            return Recurrent(0, self.hidden, 5, count, "tanh", every_step=True)
        return Recurrent(0, self.hidden, 2, count, "lstm", every_step=True)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy in nats, the mean over all characters."""
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    def measure(self) -> dict[str, Tensor]:
        """Loss on the first training examples, bits a character there and on the first test examples."""
        x, t = self.x[: self.measured], self.t[: self.measured]
        loss = torch.stack([self.loss(one, t) for one in self.outputs(x)])
        test = torch.stack([self.loss(one, self.test_t) for one in self.outputs(self.test_x)])
        return {"loss": loss, "bits": loss / math.log(2), "test_bits": test / math.log(2)}

    def notes(self) -> list[dict[str, Any]]:
        """What each network writes, and which text it has read."""
        start = torch.tensor([self.text.alphabet.index(one) for one in PROMPT])
        return [
            {"written": self._written(place, start), "text": self.text.digest[:8]}
            for place in range(len(self.params[0]))
        ]

    @torch.no_grad()
    def _written(self, place: int, start: Tensor) -> str | None:
        """The prompt and what the network makes of it; None where its weights are not finite."""
        weights = {name: one.detach()[place] for name, one in zip(self.names, self.params, strict=True)}
        if not all(torch.isfinite(one).all() for one in weights.values()):
            return None
        with torch.random.fork_rng(devices=[]):
            network = self.module()
        network.load_state_dict(weights)
        assert isinstance(network, Recurrent)
        drawn = network.write(start, SAMPLE, torch.Generator().manual_seed(0)).tolist()
        return PROMPT + "".join(self.text.alphabet[one] for one in drawn)

    @classmethod
    def findings(cls, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Besides, what the network with the fewest bits of test text writes."""
        finite = [row for row in rows if row["metrics"]["test_bits"] is not None and row["metrics"]["written"]]
        said = super().findings(rows)
        if finite:
            best = min(finite, key=lambda row: float(row["metrics"]["test_bits"]))
            bits, text = best["metrics"]["test_bits"], " ".join(best["metrics"]["written"].replace("`", "'").split())
            said.append(f"The network with the fewest bits a character of test text, {bits:.2f} by "
                        f"`{best['method']}`, writes: `{text}`")  # fmt: skip
        return said
