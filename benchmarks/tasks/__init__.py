"""Experiments: a file each, or a folder whose ``__init__`` is the experiment and the other files its parts."""
