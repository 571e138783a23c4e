"""The arguments of each command, one module per command with ``build_parser``.

None of these modules imports PyTorch, which takes over a second: help and errors in the
arguments appear at once.
"""
