"""Balance rare and frequent classes: how often images are drawn, what losses weigh.

Letters: I images, C classes, background included.
"""

import numpy as np
import numpy.typing as npt

from ..config.settings import Config
from .index.indexed_records import as_records
from .records import Dataset, IntArray, did_you_mean

Float64Array = npt.NDArray[np.float64]

_MOST = 10.0
"""Largest weight of ``balanced``: a class of a few objects must not rule the loss."""
_TOLD = 5
"""Classes that the log names, the rarest first."""


def images_of_classes(dataset: Dataset, config: Config) -> IntArray:
    """Return ``(C,)`` the number of images with an object of each class to train on."""
    images, classes = _trained_objects(dataset, config)
    pairs = np.unique(images * len(dataset.classes) + classes)
    return np.bincount(pairs % len(dataset.classes), minlength=len(dataset.classes))


def repeat_factors(dataset: Dataset, config: Config) -> Float64Array | None:
    """Return ``(I,)`` how many times an epoch draws each image; None if all once.

    With ``data.repeat_threshold`` t, a class in a share f of the images has the factor
    max(1, sqrt(t / f)), and an image the largest of its classes' (Gupta et al. 2019,
    "LVIS", section 4.1). With ``data.set_shares``, the factors of each joined set are
    scaled until the set has its share of an epoch of I images.

    Raises:
        ValueError: the number of shares is not that of the joined sets.
    """
    data, count = config.data, len(dataset.records)
    if data.repeat_threshold is None and data.set_shares is None:
        return None
    factors = np.ones(count)
    if data.repeat_threshold:
        images, classes = _trained_objects(dataset, config)
        shares = images_of_classes(dataset, config).clip(1) / count
        of_classes = np.sqrt(data.repeat_threshold / shares)
        np.maximum.at(factors, images, of_classes[classes])
    if data.set_shares is not None:
        start = 0
        for size, share in zip(_sizes(dataset, config), data.set_shares, strict=True):
            own = factors[start : start + size]
            own *= share / sum(data.set_shares) * count / max(own.sum(), 1e-9)
            start += size
    return factors


def class_weights(dataset: Dataset, config: Config) -> Float64Array | None:
    """Return ``(C,)`` weights in the classification loss, 1 for background, or None.

    Raises:
        ValueError: ``train.class_weights`` names a class that the data does not have.
    """
    given, names = config.train.class_weights, dataset.classes
    if given is None:
        return None
    weights = np.ones(len(names))
    if given == "balanced":
        _, classes = _trained_objects(dataset, config)
        counts = np.bincount(classes, minlength=len(names))[1:].clip(1)
        weights[1:] = (len(classes) / len(counts) / counts).clip(1 / _MOST, _MOST)
        return weights
    for name, weight in given.items():
        if name not in names[1:]:
            raise ValueError(
                f"train.class_weights: unknown class {name!r}"
                f"{did_you_mean(name, names[1:])}; {dataset.name} has "
                f"{', '.join(names[1:])}"
            )
        weights[names.index(name)] = weight
    return weights


def class_offsets(dataset: Dataset, config: Config) -> Float64Array | None:
    """Return ``(C,)`` what training adds to logits, 0 for background; None for none.

    Logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment",
    equation 10; balanced softmax for tau 1, Ren et al. 2020): a rare class must win by
    a margin in training, which tests do not ask for. The offsets are relative to the
    mean class, since background against objects is a balance that sampling sets.
    """
    tau = config.train.logit_adjustment
    if not tau:
        return None
    _, classes = _trained_objects(dataset, config)
    counts = np.bincount(classes, minlength=len(dataset.classes))[1:].clip(1)
    return np.append(0, tau * np.log(counts / counts.mean()))


def describe_balance(dataset: Dataset, config: Config) -> list[str]:
    """Return a line for the log for each setting that balances classes or sets.

    Raises:
        ValueError: a setting does not suit the data set.
    """
    lines = []
    factors = repeat_factors(dataset, config)
    if factors is not None:
        counts = images_of_classes(dataset, config)
        images, classes = _trained_objects(dataset, config)
        rarest = [c for c in counts.argsort(kind="stable") if counts[c]][:_TOLD]
        told = [
            f"{factors[np.unique(images[classes == c])].sum():.0f} with "
            f"{dataset.classes[c]} ({counts[c]} without repeats)"
            for c in rarest
        ]
        total = f"an epoch draws {factors.sum():.0f} of {len(factors)} images"
        lines.append(": ".join(filter(None, (total, ", ".join(told)))))
        if config.data.set_shares is not None:
            parts = np.split(factors, np.cumsum(_sizes(dataset, config))[:-1])
            shares = (
                f"{part.sum() / factors.sum():.1%} from {name} ({len(part)} images)"
                for (name, _), part in zip(_joined(dataset), parts, strict=True)
            )
            lines.append(f"shares of the joined sets: {', '.join(shares)}")
    for values, what in (
        (class_weights(dataset, config), "weights in the classification loss"),
        (class_offsets(dataset, config), "offsets of the logits in training"),
    ):
        if values is not None:
            pairs = zip(dataset.classes[1:], values[1:], strict=True)
            listed = ", ".join(f"{name} {value:.3g}" for name, value in pairs)
            lines.append(f"{what}: {listed}")
    return lines


def _trained_objects(dataset: Dataset, config: Config) -> tuple[IntArray, IntArray]:
    """Return image and class of the objects that training uses."""
    records = as_records(dataset.records)
    used = ~records.crowd
    if not config.data.use_difficult:
        used = used & ~records.difficult
    return records.images[used], records.classes[used].astype(np.int64)


def _joined(dataset: Dataset) -> tuple[tuple[str, int], ...]:
    """Return name and number of images of each joined set."""
    return dataset.joined or ((dataset.name, len(dataset.records)),)


def _sizes(dataset: Dataset, config: Config) -> tuple[int, ...]:
    shares = config.data.set_shares or ()
    names, sizes = zip(*_joined(dataset), strict=True)
    if len(shares) != len(sizes):
        raise ValueError(
            f"data.set_shares: expected {len(sizes)} numbers, one for each set that + "
            f"joins ({', '.join(names)}), found {len(shares)}"
        )
    return tuple(sizes)
