"""Optimizers whose update rule was learned."""
