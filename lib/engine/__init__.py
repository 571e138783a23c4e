"""The training loop and what it keeps: schedule, solver, validation, resuming."""
