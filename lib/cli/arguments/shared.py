"""Arguments that several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ...config.settings import NET_NAMES, split_net
from ...utils.printable import printable
from ..parser import add_device, add_overrides, count
from ..roots import output_root

_DATASET_HELP = (
    "shapes, voc (2007), voc0712, coco, the path of a folder (VOC, COCO, YOLO and what "
    "labelling tools export: docs/own_data.md), of a data.yaml, a COCO JSON or a zip, "
    "or several of these joined by +"
)


NET_HELP = (
    f"{', '.join(NET_NAMES)}, or timm/ and the name of a model of timm; with the "
    "suffix _fpn for a pyramid, _dc5 for a dilated last stage, the prefix cascade_ for "
    "Cascade R-CNN, mask_ and keypoint_ for heads of these; with the prefix retina_ "
    "and the suffix _fpn for RetinaNet"
)


_DEFAULT_NET_HELP = (
    "default: res18 for shapes, else mobile_v2_fpn on a CPU, and res50_fpn on a GPU"
)


class _Setting(NamedTuple):
    """An option that sets keys of the configuration.

    Attributes:
        keys: keys that receive the value, with its text in their form.
    """

    keys: dict[str, str]
    type: Callable[[str], object]
    help: str


def _number(text: str) -> str:
    """Check a number, whose text becomes part of the run's name."""
    try:
        float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None
    return text


SETTINGS = {
    "--iters": _Setting({"train.iterations": "{}"}, int, "updates to train for"),
    "--epochs": _Setting(
        {"train.epochs": "{}"}, _number, "passes over the training images, for --iters"
    ),
    "--batch-size": _Setting(
        {"train.batch_size": "{}"}, count, "images at once in each process"
    ),
    "--lr": _Setting({"train.lr": "{}"}, _number, "learning rate"),
    "--imgsz": _Setting(
        {
            "data.short_sides": "[{}]",
            "data.long_side": "{}",
            "data.test_short_side": "{}",
            "data.test_long_side": "{}",
        },
        count,
        "longer side of the network's input in pixels, in training and tests",
    ),
    "--seed": _Setting({"train.seed": "{}"}, int, "seed of all random numbers"),
}
"""Options in words that other programs use too, for some of the settings."""


def add_arguments(
    parser: argparse.ArgumentParser, *, optional_dataset: bool = False
) -> None:
    """Add the arguments that training and testing share."""
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        nargs="?" if optional_dataset else None,
        help=_DATASET_HELP,
    )
    parser.add_argument(
        "net",
        metavar="NET",
        nargs="?",
        type=net_argument,
        help=f"{NET_HELP}; {_DEFAULT_NET_HELP}",
    )
    add_overrides(parser, "train.lr 0.01")
    parser.add_argument("--tag", "--name", type=_tag, help="name of the run")
    add_device(parser)
    parser.add_argument(
        *("--output", "--project", "--work-dir"),
        type=Path,
        default=output_root(),
        help="folder of all runs; default: %(default)s",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that determine how a run trains."""
    parser.add_argument(
        "--cfg",
        type=Path,
        metavar="FILE|NAME",
        help="recipe in addition to those of the net and the data set: a file, or the "
        "name of a packaged one, such as schedule_3x",
    )
    parser.add_argument(
        "--weights",
        metavar="imagenet|none|NAME|FILE",
        help="initial weights: torchvision's (timm's for its nets), random ones, those "
        "of a name in docs/zoo.md, or those of a file",
    )
    for option, setting in SETTINGS.items():
        parser.add_argument(option, type=setting.type, help=setting.help)
    parser.add_argument("--workers", type=int, help="loader processes")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bits from the same seed; says where that is impossible "
        "(docs/faults.md)",
    )


def net_argument(text: str) -> str:
    """Check a NET of the command line."""
    try:
        return str(split_net(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _tag(name: str) -> str:
    """Check a run's name, which becomes a folder name."""
    if name in ("", ".", "..") or {"/", "\\"} & {*name} or printable(name) != name:
        raise argparse.ArgumentTypeError(f"expected a folder's name, found {name!r}")
    return name


def add_process_arguments(
    parser: argparse.ArgumentParser, *, sharing: bool = False
) -> None:
    """Add the arguments for the number of processes.

    Args:
        sharing: whether several processes may share a GPU, as in a test.
    """
    parser.add_argument(
        "--gpus",
        type=count,
        metavar="N",
        help="processes on this machine, one for each of its first N GPUs; with "
        "--device cpu, N processes on the CPU. Not needed, and only checked, if "
        "torchrun, srun or mpirun starts the processes (docs/distributed.md)",
    )
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        default="none",
        help="expect that torchrun, srun or mpirun started this process; it is found "
        "without the option too",
    )
    if sharing:
        parser.add_argument(
            "--procs-per-gpu",
            type=count,
            default=1,
            metavar="N",
            help="processes that share each GPU, or the CPU with --device cpu; the "
            "results are those of one process. Default: 1",
        )
