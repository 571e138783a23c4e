"""Output of a run: logs, progress, curves, trackers, times."""
