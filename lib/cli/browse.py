"""Show what the network is trained on: contact sheets of augmented batches."""

import argparse
import itertools
import logging

from ..datasets.catalog import dataset_name
from ..datasets.wanted_instances import with_keypoints_of
from ..engine.fit_to_data import fit_to_data
from ..engine.training_batches import stream_batches
from ..inference.batch_pictures import network_pictures
from ..utils.drawing import contact_sheet, save_image
from ..utils.monitoring.slow_steps import slow_step
from .command_line import get_dataset, make_job
from .roots import output_root
from .user_errors import clear_errors

logger = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    """Draw the batches of the run that the arguments describe."""
    with clear_errors():
        job = make_job(arguments)
        dataset = get_dataset(job.dataset, job.config, "train")
        config = with_keypoints_of(dataset, job.config, job.given)
        config, _ = fit_to_data(
            config, dataset, fixed=job.fixed, recorded=None, fits=lambda _: True
        )
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
        name = f"{dataset_name(job.dataset)}_{config.net.full_name}.jpg".replace(
            "/", "_"
        )
        output = arguments.output or output_root() / "browse" / name
        per_sheet = arguments.columns * arguments.rows
        for number in range(1, -(-arguments.count // per_sheet) + 1):
            with slow_step("drawing the images"):
                cells = list(itertools.islice(pictures, per_sheet))
            alone = len(cells) == arguments.count
            path = output if alone else output.with_stem(f"{output.stem}_{number}")
            save_image(path, contact_sheet(cells, columns=arguments.columns))
            logger.info("%d images are in %s", len(cells), path)
