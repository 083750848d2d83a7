"""What `benchmarks.speed` measures."""
