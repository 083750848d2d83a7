"""Circuits that experiments learn of, with their simulators and shipped data."""
