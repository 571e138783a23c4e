"""What a run tells: logs, progress, curves, trackers, times."""
