"""Show what the network is trained on: contact sheets of augmented batches.

The images are the batches of a training run with the same arguments, from its first
iteration on, including padding (black). Grey boxes are visible objects that are not
trained on: crowds, difficult objects, and objects of which a crop leaves too little.
"""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

from ..datasets.catalog import dataset_name
from ..datasets.wanted_instances import with_keypoints_of
from ..engine.training_batches import stream_batches
from ..inference.batch_pictures import network_pictures
from ..utils.drawing import contact_sheet, save_image
from .command_line import add_arguments, add_training_arguments, get_dataset, make_job
from .parser import Parser, count
from .roots import output_root
from .user_errors import clear_errors

logger = logging.getLogger(__name__)


def build_parser(prog: str | None = None) -> Parser:
    """Create the parser: arguments of a training run, and of the sheets."""
    parser = Parser(prog=prog, description=__doc__, conflict_handler="resolve")
    add_arguments(parser)
    add_training_arguments(parser)
    for option, default, text in (
        ("--count", 24, "images to show"),
        ("--columns", 4, "images in a row"),
        ("--rows", 6, "rows of a sheet"),
        ("--size", 400, "longer side of an image in pixels"),
    ):
        parser.add_argument(
            option,
            type=count,
            default=default,
            help=f"{text}; default: {default}",
        )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".jpg or .png; if there are more sheets than one, their number is added; "
        "default: output/browse/DATASET_NET.jpg",
    )
    return parser


def main(words: Sequence[str] | None = None, prog: str = "frcnn browse") -> None:
    """Draw the batches of the run that the arguments describe."""
    arguments = build_parser(prog).parse_args(words)
    with clear_errors():
        job = make_job(arguments)
        dataset = get_dataset(job.dataset, job.config, "train")
        config = with_keypoints_of(dataset, job.config, job.given)
        data = config.data.model_copy(update={"workers": 0})  # the stream is the same
        batches = stream_batches(dataset, config.model_copy(update={"data": data}))
        pictures = network_pictures(
            batches,
            dataset.classes,
            offset=config.boxes.offset,
            count=arguments.count,
            size=arguments.size,
            skeleton=dataset.keypoints.skeleton if dataset.keypoints else (),
        )
        name = f"{dataset_name(job.dataset)}_{config.net.full_name}.jpg"
        output = arguments.output or output_root() / "browse" / name
        per_sheet = arguments.columns * arguments.rows
        for number in range(1, -(-arguments.count // per_sheet) + 1):
            cells = list(itertools.islice(pictures, per_sheet))
            alone = len(cells) == arguments.count
            path = output if alone else output.with_stem(f"{output.stem}_{number}")
            save_image(path, contact_sheet(cells, columns=arguments.columns))
            logger.info("%d images are in %s", len(cells), path)
