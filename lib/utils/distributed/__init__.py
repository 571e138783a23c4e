"""Several processes: how they start, find each other and agree."""
