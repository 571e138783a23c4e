"""The training loop: schedule, solver, validation, checkpoints and resuming."""
