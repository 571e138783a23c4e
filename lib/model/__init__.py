"""The detector, its configuration, training, inference and state."""
