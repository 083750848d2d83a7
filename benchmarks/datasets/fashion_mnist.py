"""Fashion-MNIST: 70,000 pictures of clothes in the layout of MNIST.

Source: Xiao, Rasul, Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist, as Debian packages it.
"""

from __future__ import annotations

from benchmarks.datasets._clients import DebianPackage
from benchmarks.datasets._packaged import PackagedPictures

__all__ = ["FASHION_MNIST"]

FASHION_MNIST = PackagedPictures(
    name="fashion-mnist",
    classes=(
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    package=DebianPackage("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
    digests={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)  # fmt: skip
