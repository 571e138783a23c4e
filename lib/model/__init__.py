"""The detectors: parts assembled as the papers describe, and their losses."""
