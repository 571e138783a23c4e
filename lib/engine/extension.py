"""Extend a run beyond its planned length, or change its rate (``--extend``)."""

from collections.abc import Collection

from ..config.loading import ConfigError, differences
from ..config.settings import Config
from .solver import learning_rate

CHANGEABLE = frozenset(
    f"train.{key}"
    for key in (
        *("iterations", "epochs", "lr", "lr_steps", "lr_epochs", "gamma", "schedule"),
        *("power", "warmup_iterations", "warmup_factor", "clip_norm", "patience"),
        *("validate_every", "validate_epochs", "snapshot_every", "snapshots_kept"),
        *("log_every", "picture_every", "histogram_every", "shard_optimizer"),
    )
)
"""Settings that no state in a checkpoint depends on: a run may change them."""

_PLACES = ("data.root", "data.train_set", "data.test_set")


def extended_config(
    recorded: Config | None, wanted: Config, given: Collection[str]
) -> Config:
    """Return a run's configuration with the command line's settings applied.

    Recipes are not read again: the recorded settings are already scaled.

    Args:
        given: keys of the command line, ``section.key``.

    Raises:
        ConfigError: there is no run.
    """
    if recorded is None:
        raise ConfigError(
            "--extend continues a run, but found none with this --tag; leave out "
            "--extend to start a run"
        )
    values, new = recorded.model_dump(), wanted.model_dump()
    for key in (*given, *_PLACES):
        section, _, name = key.partition(".")
        values[section][name] = new[section][name]
    return Config.model_validate(values)


def describe_extension(recorded: Config, config: Config, done: int) -> list[str]:
    """Describe the changes in lines for the log.

    Raises:
        ConfigError: there is nothing left to do.
    """
    changes = differences(config, recorded)
    if not changes:
        return []
    train = config.train
    if train.iterations <= done:
        raise ConfigError(
            f"--extend: expected more than the {done} iterations that the run has "
            f"made, found {train.iterations}; give more, as in --iters {2 * done}"
        )
    lines = [f"extended after {done} iterations: {describe_changes(changes)}"]
    if done:
        was, now = learning_rate(done - 1, recorded.train), learning_rate(done, train)
        lines.append(f"  learning rate {was:.3g} -> {now:.3g}")
    return lines


def describe_changes(changes: dict[str, tuple[object, object]]) -> str:
    """Describe changes from `differences` in one line."""
    return ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changes.items())
