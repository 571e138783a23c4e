"""Check a data set: files, boxes, classes, splits, and how anchors meet its objects."""

import argparse
import logging
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from ..config.loading import load_config
from ..config.recipes import find_recipes, net_settings, recipe_file
from ..config.settings import Config
from ..datasets.catalog import resolve
from ..datasets.checks.check_page import write_page
from ..datasets.checks.dataset_files import find_sources
from ..datasets.checks.fix import expect_mendable, write_cleaned
from ..datasets.checks.pixel_statistics import pixel_settings
from ..datasets.checks.run_checks import Report, Training, Verdict, check_dataset
from ..datasets.checks.text import report_text
from ..datasets.wanted_instances import training_instances, with_keypoints_of
from ..engine.fit_to_data import anchor_recipe
from ..engine.validation import settle_validation
from ..utils.monitoring.slow_steps import slow_step
from ..utils.printable import show
from .command_line import apply_split, dataset_settings, fetch_dataset, open_data
from .data_sets import read_data_sets
from .roots import data_root, output_root
from .user_errors import clear_errors

logger = logging.getLogger(__name__)

_STATUS: dict[Verdict, int] = {"fine": 0, "will train, but look": 1, "cannot train": 2}


def main(arguments: argparse.Namespace) -> None:
    """Read the files, check them, and show the findings."""
    with clear_errors():
        if arguments.pixel_statistics:
            print_statistics(arguments)
            return
        sys.exit(_STATUS[run_check(arguments).verdict])


def print_statistics(arguments: argparse.Namespace) -> None:
    """Print the settings that normalise the training images as they are stored."""
    arguments.dataset = open_data(arguments.dataset)
    config, _ = _settle(arguments, find_recipes(arguments.dataset, arguments.net))
    fetch_dataset(arguments.dataset, config, "train")
    records = read_data_sets(arguments.dataset, config).train.records
    show("--set " + " ".join(pixel_settings([record.path for record in records])))


def run_check(arguments: argparse.Namespace) -> Report:
    """Do what the arguments of ``frcnn check`` ask for, and return the findings.

    Raises:
        ValueError: the files cannot be read, or the page or the copy not be written.
    """
    arguments.dataset = open_data(arguments.dataset)
    name, _, _ = resolve(arguments.dataset)
    recipes = find_recipes(arguments.dataset, arguments.net)
    recipes += [recipe_file(arguments.cfg)] if arguments.cfg else []
    config, keys = _settle(arguments, recipes)
    fetch_dataset(arguments.dataset, config, "train")
    fetch_dataset(arguments.dataset, config, "test")
    data = config.data
    names = [data.train_set, *filter(None, [data.val_set]), data.test_set]
    sources = find_sources(
        names, root=config.data.root, keypoints=config.keypoint.enabled
    )
    if arguments.fix:
        expect_mendable(sources, arguments.fix)
    recipe = anchor_recipe(config, "+".join(path.stem for path in recipes))
    training = _ask_training(arguments.dataset, config, keys)
    with slow_step(f"checking {name}"):
        report = check_dataset(
            name, sources, recipe, jobs=arguments.jobs, training=training
        )
    show(report_text(report))
    page = arguments.html or output_root() / "check" / f"{name}.html"
    with _writing(page), slow_step("drawing the page"):
        write_page(page, report, pictures=arguments.pictures)
    logger.info("the page is %s", page)
    if arguments.fix:
        with _writing(arguments.fix), slow_step("writing the corrected copy"):
            counts = write_cleaned(report, arguments.fix, alike=arguments.fix_alike)
        logger.info("a corrected copy is in %s: %s", arguments.fix, counts)
    return report


def _settle(
    arguments: argparse.Namespace, recipes: list[Path]
) -> tuple[Config, Set[str]]:
    """Return the settings of a training run, and the keys that the arguments set."""
    given = [*net_settings(arguments.net), "data.root", str(data_root())]
    apply_split(arguments.dataset, load_config(recipes, [*given, *arguments.overrides]))
    given += dataset_settings(arguments.dataset)
    config = load_config(recipes, [*given, *arguments.overrides])
    keys = set(arguments.overrides[::2])
    return settle_validation(config, keys), keys


def _ask_training(word: str, config: Config, given: Set[str]) -> Training:
    """Read the data sets as a training run does, and collect errors and warnings."""
    try:
        sets = read_data_sets(word, config)
        training_instances(sets.train, with_keypoints_of(sets.train, config, given))
        return Training(concerns=sets.concerns)
    except ValueError as error:
        return Training(refusals=[str(error)])


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Turn a failed write into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{place}: cannot be written ({error}); free some space, or name another "
            "path"
        ) from error
