"""Images and passes of an update, their distribution over processes, and the schedule.

An update's images are split into passes of ``train.batch_size``, which the processes
share. The result of a pass, including its random numbers, depends on its index and not
on the process, so an update is the same however many processes compute it.
"""

from collections.abc import Collection
from fractions import Fraction

from ..config.settings import Config, TrainConfig
from ..datasets.loading.training_stream import Passes


def images_per_update(train: TrainConfig, processes: int) -> int:
    """Return the number of images whose mean loss an update minimises."""
    if train.images_per_update is not None:
        return train.images_per_update
    return train.batch_size * train.accumulate * processes


def epochs_text(epochs: float, *, decimals: int) -> str:
    """Return a number of epochs; one digit of a number too small for the decimals."""
    text = f"{epochs:.{decimals}f}"
    return text if float(text) else f"{epochs:.1g}"


def share_passes(train: TrainConfig, *, rank: int = 0, processes: int = 1) -> Passes:
    """Split an update into passes, and assign each process its share.

    Raises:
        ValueError: there are fewer passes than processes, or ``sync_bn`` is set and the
            number of passes is not a multiple of theirs.
    """
    images = images_per_update(train, processes)
    count = -(-images // train.batch_size)
    expected = ""
    if count < processes:
        expected = f"at least {processes}"
    elif train.sync_bn and count % processes:
        expected = f"a multiple of {processes} (train.sync_bn)"
    if expected:
        raise ValueError(
            f"an update of this run has {images} images in {count} passes of "
            f"train.batch_size {train.batch_size}; expected {expected} passes for "
            f"{processes} processes. Start as many processes as share them, or give "
            "another --tag for a run with other batches"
        )
    first, last = (r * count // processes for r in (rank, rank + 1))
    return Passes(images, train.batch_size, count, range(first, last))


def settle_schedule(
    config: Config,
    *,
    processes: int,
    given: Collection[str],
    recorded: Config | None,
    train_images: int | None = None,
) -> tuple[Config, list[str]]:
    """Fit the schedule to the batch (linear scaling, Goyal et al. 2017, section 2.1).

    With k times the recipe's reference batch, the learning rate is multiplied by k, and
    all settings in updates are divided by k. Settings in epochs need no scaling; they
    are converted to updates of the actual batch.

    Args:
        given: keys on the command line, ``section.key``, whose values are not scaled.
        recorded: configuration of the run to resume, which keeps its batch.
        train_images: images of an epoch; needed only for settings in epochs.

    Returns:
        The configuration with its batch and the matching schedule (settling it again
        changes nothing), and a description in lines for the log.

    Raises:
        ValueError: the command line gives a length in both iterations and epochs.
    """
    train = config.train
    images = images_per_update(train, processes)
    lines: list[str] = []
    if recorded is not None and train.images_per_update is None:
        begun = images_per_update(recorded.train, 1)
        if begun != images:
            lines.append(f"an update keeps the {begun} images that this run began with")
        images = begun
    changes: dict[str, object] = {"images_per_update": images}
    in_epochs, told = _in_epochs(train, images, train_images, given)
    if train.reference_batch:
        changes["reference_batch"] = images
        factor = Fraction(images, train.reference_batch)
        if factor != 1:
            scaled = _scaled(train, factor)
            for key in in_epochs.keys() & scaled.keys():
                del scaled[key]
            for key in [key for key in scaled if f"train.{key}" in given]:
                scaled[key] = getattr(train, key)
            changes |= scaled
            lines += _account(train, images, factor, scaled, given)
    changes |= in_epochs
    lines += told
    lines += _limit_warmup(train.model_copy(update=changes), changes, given, recorded)
    # Not only model_copy: a scaled value must be as valid as one from a file.
    settled = TrainConfig.model_validate(train.model_dump() | changes)
    return config.model_copy(update={"train": settled}), lines


def _limit_warmup(
    train: TrainConfig,
    changes: dict[str, object],
    given: Collection[str],
    recorded: Config | None,
) -> list[str]:
    """Limit a recipe's warm-up to a tenth of a short run; returns lines for the log.

    A run that began with a longer warm-up keeps it.
    """
    planned, most = train.warmup_iterations, train.iterations // 10
    if planned <= most or "train.warmup_iterations" in given:
        return []
    if recorded is not None and recorded.train.warmup_iterations == planned:
        return []
    changes["warmup_iterations"] = most
    return [
        f"  warm-up iterations {most}, a tenth of the run, in place of {planned}; "
        "train.warmup_iterations on the command line stands as given"
    ]


def _in_epochs(
    train: TrainConfig, images: int, train_images: int | None, given: Collection[str]
) -> tuple[dict[str, object], list[str]]:
    """Convert settings in epochs to updates of ``images`` images; and log lines.

    Values that ``train`` already has are returned unchanged.
    """
    changes: dict[str, object] = {}
    lines: list[str] = []

    def updates(epochs: float) -> int:
        assert train_images is not None
        return max(1, round(Fraction(repr(epochs)) * train_images / images))

    def outranked(key: str, epochs_key: str) -> bool:
        """Return whether the command line gives updates in place of epochs."""
        if f"train.{key}" not in given:
            return False
        if f"train.{epochs_key}" in given:
            raise ValueError(
                f"train.{key} and train.{epochs_key} are both given; give one of them"
            )
        changes[epochs_key] = None
        return True

    if train.epochs is not None and not outranked("iterations", "epochs"):
        total = changes["iterations"] = updates(train.epochs)
        lines.append(
            f"{train.epochs:g} epochs of {train_images} images: {total} iterations of "
            f"{images}"
        )
        if train.lr_epochs is None and "train.lr_steps" not in given:
            share = Fraction(total, train.iterations)
            steps = {max(1, round(step * share)) for step in train.lr_steps}
            changes["lr_steps"] = tuple(sorted(steps))
            if train.schedule == "step" and share != 1:
                lines.append(
                    f"  learning rate steps {_text(changes['lr_steps'])}, as "
                    f"{_text(train.lr_steps)} of {train.iterations}"
                )
    if train.lr_epochs is not None and not outranked("lr_steps", "lr_epochs"):
        steps = {updates(epochs) for epochs in train.lr_epochs}
        changes["lr_steps"] = tuple(sorted(steps))
        lines.append(
            f"  learning rate steps {_text(changes['lr_steps'])}, after "
            f"{_text(train.lr_epochs)} epochs"
        )
    if train.validate_epochs is not None and not outranked(
        "validate_every", "validate_epochs"
    ):
        every = changes["validate_every"] = updates(train.validate_epochs)
        lines.append(
            f"  a validation every {every} iterations, that is "
            f"{train.validate_epochs:g} epochs"
        )
    return changes, lines


def _scaled(train: TrainConfig, factor: Fraction) -> dict[str, object]:
    """Scale the settings that depend on the batch to ``factor`` times the reference."""

    def updates(count: int) -> int:
        return max(1, round(count / factor)) if count else 0

    return {
        "lr": float(Fraction(repr(train.lr)) * factor),
        "iterations": updates(train.iterations),
        # In a very large batch, steps may coincide.
        "lr_steps": tuple(sorted({updates(step) for step in train.lr_steps})),
        "warmup_iterations": updates(train.warmup_iterations),
        "snapshot_every": updates(train.snapshot_every),
        "validate_every": updates(train.validate_every),
        # The average spans as many images as before (Busbridge et al. 2023).
        "ema": train.ema ** float(factor),
    }


def _account(
    train: TrainConfig,
    images: int,
    factor: Fraction,
    scaled: dict[str, object],
    given: Collection[str],
) -> list[str]:
    lines = [
        f"an update has {images} images, the recipe is for {train.reference_batch}: "
        f"linear scaling by {factor}"
    ]
    for key, name in (
        ("lr", "learning rate"),
        ("iterations", "iterations"),
        ("lr_steps", "learning rate steps"),
        ("warmup_iterations", "warm-up iterations"),
        ("snapshot_every", "iterations between snapshots"),
        ("validate_every", "iterations between validations"),
        ("ema", "decay of averaged weights"),
    ):
        if key not in scaled:
            continue
        before, after = _text(getattr(train, key)), _text(scaled[key])
        if f"train.{key}" in given:
            lines.append(f"  {name} {after}, as given")
        elif getattr(train, key):
            sign = {"lr": "x", "ema": "^"}.get(key, "/")
            lines.append(f"  {name} {after} = {before} {sign} {factor}")
    return lines


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)
