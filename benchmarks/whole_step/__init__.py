"""Whole steps by several implementations, for step.py, step_growth.py, step_means.py.

A `Work` (network, size, batch, phase) and an implementation make a `Step` (`models`,
`call`, `ways` and the peers). `workers` run a step in its own process, `measure` runs
them in turn until `intervals` are narrow, and `report` formats the results.
"""
