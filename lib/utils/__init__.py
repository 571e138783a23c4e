"""Drawing, logging and progress."""
