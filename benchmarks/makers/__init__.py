"""Makers of the data files that experiments read."""
