"""Speed as ratios taken in one run: `python -m tests.benchmarks.NAME`, JSON and a table out."""
