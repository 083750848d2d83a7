"""Problem generators: one file each, all with ``generate(*, seed, ...) -> Problem``; the same seed, the same file."""
