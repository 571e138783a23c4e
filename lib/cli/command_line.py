"""Shared parts of the command-line tools: arguments, the job, its data."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ..config.dataset_words import WORDS
from ..config.loading import load_config, recipe_keys
from ..config.recipes import find_recipes, net_settings, recipe_file, recipe_folder
from ..config.settings import Config
from ..datasets.catalog import (
    dataset_name,
    is_folder,
    load_dataset,
    resolve,
    tidy,
    validation_set,
    wanted_by,
)
from ..datasets.download import ensure_downloaded
from ..datasets.folders import Split, choose_split
from ..datasets.given_files import as_folders
from ..datasets.records import Dataset
from ..engine.run_folder import settings_name
from ..engine.validation import settle_validation, validates
from ..utils.device import pick_device, pick_dtype
from ..utils.distributed import collectives
from ..utils.monitoring.slow_steps import slow_step
from .arguments.shared import SETTINGS
from .roots import data_root


class Job(NamedTuple):
    """The job that a command line describes.

    Attributes:
        dataset: DATASET as given: a word or a path.
        given: keys that the command line sets itself, ``section.key``.
        fixed: these, and the keys of the user's own recipes.
    """

    dataset: str
    config: Config
    recipes: list[Path]
    tag: str
    device: torch.device
    dtype: torch.dtype
    given: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()


def make_job(arguments: argparse.Namespace) -> Job:
    """Resolve the arguments of a training run to a job.

    Raises:
        ValueError: the data set, net, key, value or device is unknown or unavailable.
    """
    overrides: list[str] = []
    if arguments.weights is not None:
        overrides += ["net.weights", arguments.weights]
    for option, setting in SETTINGS.items():
        value = given_value(arguments, option)
        if value is not None:
            for key, form in setting.keys.items():
                overrides += [key, form.format(value)]
    if arguments.deterministic:
        overrides += ["train.deterministic", "true"]
    # Last, so that a key without a value does not take another option as its value.
    overrides += arguments.overrides
    device = pick_device(arguments.device)
    dataset = open_data(arguments.dataset)
    net = arguments.net or default_net(dataset, device)
    recipes = find_recipes(dataset, net)
    own = [path for path in recipes if path.parent != recipe_folder()]
    if arguments.cfg is not None:
        own.append(recipe_file(arguments.cfg))
        recipes.append(own[-1])
    given = [*net_settings(net), "data.root", str(data_root())]
    if arguments.workers is not None:  # not part of the run's name: results are equal
        given += ["data.workers", str(arguments.workers)]
    keys = frozenset(key.lower() for key in overrides[::2])
    # Whether there is a validation set may depend on the split.
    apply_split(dataset, load_config(recipes, [*given, *overrides]))
    given += dataset_settings(dataset)
    config = settle_validation(load_config(recipes, [*given, *overrides]), keys)
    return Job(
        dataset=dataset,
        config=config,
        recipes=recipes,
        tag=arguments.tag or automatic_tag(arguments.cfg, overrides),
        device=device,
        dtype=pick_dtype(config.train.precision, device),
        given=keys,
        fixed=keys.union(*map(recipe_keys, own)),
    )


def given_value(arguments: argparse.Namespace, option: str) -> object:
    """Return the value of an option such as ``--batch-size``; None if not given."""
    return getattr(arguments, option[2:].replace("-", "_"))


def default_net(dataset: str, device: torch.device) -> str:
    """Return the NET of a command line that names none."""
    if dataset == "shapes":
        return "res18"
    return "mobile_v2_fpn" if device.type == "cpu" else "res50_fpn"


def open_data(word: str) -> str:
    """Return DATASET with a folder in place of each file, see `as_folders`."""
    with collectives.main_first():
        return as_folders(word)


def dataset_settings(word: str) -> list[str]:
    """Return the sets of DATASET as settings, flattened as after ``--set``.

    Raises:
        ValueError: it is not a known word, a folder, or several of these joined.
    """
    _, train_set, test_set = resolve(word)
    sets = {"train": train_set, "val": validation_set(word), "test": test_set}
    return [
        text
        for split, name in sets.items()
        if name is not None
        for text in (f"data.{split}_set", tidy(name))
    ]


def apply_split(word: str, config: Config) -> None:
    """Split the images of DATASET's folders as ``data.split`` asks.

    Raises:
        ValueError: a folder has splits of its own, or the shares are malformed.
    """
    if config.data.split is not None:
        for part in [word] if is_folder(word) else word.split("+"):
            splitting = slow_step(f"splitting the images of {part}")
            with collectives.main_first(), splitting:
                choose_split(Path(part).expanduser(), config.data.split)


def automatic_tag(cfg: Path | None, overrides: Sequence[str]) -> str:
    """Name a run by its differences from the recipe: ``default`` if there are none."""
    given = dict(zip(overrides[::2], overrides[1::2], strict=False))
    return settings_name(*([cfg.stem] if cfg else []), **given) or "default"


def get_dataset(word: str, config: Config, split: Split) -> Dataset:
    """Load the training, validation or test set; download or generate it if needed.

    Args:
        word: the data set as given on the command line.
        split: which of them. If a run does not validate, the training set includes the
            validation images, if there is a list with both (VOC's trainval.txt).

    Raises:
        ValueError: the set is not available, or its files are invalid.
    """
    data = config.data
    with collectives.main_first():
        if split != "val":
            fetch_dataset(word, config, split)
            name = data.test_set if split == "test" else data.train_set
            both = split == "train" and not validates(config)
            split = "trainval" if both else split
        elif data.val_set is not None:
            name = data.val_set
        else:
            raise ValueError(
                f"{word} has no set to validate on; name one in data.val_set, such as "
                "voc_2007_val, or the path of a folder"
            )
        return load_dataset(
            name,
            root=data.root,
            split=split,
            classes=data.classes,
            wanted=wanted_by(config),
        )


def fetch_dataset(word: str, config: Config, split: Split) -> None:
    """Download the missing files of a word's own training or test set.

    If --set names another set, nothing is downloaded: neither that set nor the word's.

    Raises:
        ValueError: the set is not available.
    """
    data = config.data
    name = data.test_set if split == "test" else data.train_set
    for part in word.split("+"):
        own = WORDS[part][split == "test"].split("+") if part in WORDS else []
        if set(own) & set(name.split("+")):
            ensure_downloaded(part, data.root)


def run_parent(output: Path, net: str, train_set: str) -> Path:
    """Return the folder of all runs of a net on a training set (DATASET or a path)."""
    name = dataset_name(train_set)
    if is_folder(train_set):
        name += "_train"
    return output / net.replace("/", "_") / name
