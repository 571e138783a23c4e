"""What step.py, step_growth.py and step_means.py measure: whole steps, way by way.

A `Work` (network, size, batch, phase) and a way to compute it make a `Step`
(`models`, `call`, `ways` and the peers). `workers` run one in a process of its own,
`measure` lets them take turns until `intervals` are narrow, `report` tells.
"""
