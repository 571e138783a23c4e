"""The detectors, assembled from their parts as in the papers, and their losses."""
