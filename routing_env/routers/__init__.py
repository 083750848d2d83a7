"""Routers: one file each, all with ``route(problem, *, seed, time_limit, progress, ...) -> Solution``."""
