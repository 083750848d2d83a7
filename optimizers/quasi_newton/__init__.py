"""Quasi-Newton methods: classical, Nesterov- and momentum-accelerated, stochastic."""
