"""Experiments, comparisons and their tables and figures; the files of this folder are commands."""
