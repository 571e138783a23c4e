"""The data sets of a training run, read and checked before the first update."""

from typing import NamedTuple

from ..config.settings import Config
from ..datasets.agreement import same_pictures, shared_pictures, with_known_classes
from ..datasets.origins import own_files
from ..datasets.readiness import (
    dark_images,
    expect_testable,
    expect_trainable,
    untrained_classes,
)
from ..datasets.records import Dataset
from ..engine.validation import get_validation_set
from ..utils.distributed import collectives
from .command_line import get_dataset


class DataSets(NamedTuple):
    """The data sets of a run.

    Attributes:
        validation: the validation set; None for a run that does not validate.
        concerns: problems to look at that do not prevent training.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None
    concerns: list[str]


def read_data_sets(word: str, config: Config) -> DataSets:
    """Read all sets of a run, so that no error shows up after days of training.

    Args:
        word: the data set as given on the command line.

    Raises:
        ValueError: a set is not available, its files are invalid, nothing can be
            learned from it, or a test on it would fail.
    """
    train = get_dataset(word, config, "train")
    test = with_known_classes(get_dataset(word, config, "test"), train)
    validation = get_validation_set(config, train)
    concerns = []
    if collectives.is_main():
        data = config.data
        concerns = expect_trainable(
            train,
            use_difficult=data.use_difficult,
            max_unreadable=data.max_unreadable,
        )
        if config.net.pixel_mean is None:
            concerns += dark_images(train)
        tested = [test]
        if validation is not None and not same_pictures(validation, test):
            tested.append(validation)
        for dataset in tested:
            concerns += expect_testable(dataset) + untrained_classes(train, dataset)
        concerns += shared_pictures(train, validation, test)
    return DataSets(train, test, validation, list(map(own_files, concerns)))
