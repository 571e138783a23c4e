"""The ``frcnn`` command: a module for each of its commands, found by `main`.

``tools/*.py`` and ``experiments/scripts/*.sh`` are doors to the same modules for those
who work in a checkout.
"""
