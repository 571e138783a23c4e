"""Write the split of a data set as lists of images."""

import argparse
import logging
import os
from pathlib import Path

from ..datasets.catalog import dataset_name
from ..datasets.folders import FORMATS, Split, choose_split, read_folder, recognise
from ..datasets.index.indexed_records import as_records
from ..datasets.origins import own_file
from ..utils.files import write_atomic
from .command_line import open_data
from .roots import output_root
from .user_errors import clear_errors

_SPLITS: tuple[Split, ...] = ("train", "val", "test")

logger = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    """Split the images if necessary, and write a list for each set."""
    with clear_errors():
        folder = Path(open_data(arguments.dataset)).expanduser()
        if not folder.is_dir():
            raise ValueError(
                f"{arguments.dataset}: expected the folder of a data set; published "
                "sets have lists of their own"
            )
        name = dataset_name(str(folder))
        if arguments.shares is not None:
            choose_split(folder, arguments.shares)
        found = recognise(folder)
        there = FORMATS[found.layout].splits(found.folder)
        output = arguments.output or output_root() / "split" / name
        output.mkdir(parents=True, exist_ok=True)
        for split in _SPLITS:
            if split in there:
                dataset = read_folder(folder, split, name=f"{name}_{split}")
                paths = [own_file(Path(p)) for p in as_records(dataset.records).paths]
                lines = [f"{os.path.relpath(p, own_file(folder))}\n" for p in paths]
                write_atomic(output / f"{split}.txt", "".join(lines))
                logger.info("%s: %d images", output / f"{split}.txt", len(lines))
