"""Experiments, comparisons and their tables and figures."""
