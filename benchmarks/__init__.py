"""Benchmarks of speed and memory, as ratios within one run; see docs/performance.md."""
