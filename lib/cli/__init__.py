"""The ``frcnn`` command: one module per command, found by `main`.

In a checkout, ``tools/*.py`` and ``experiments/scripts/*.sh`` call the same modules.
"""
