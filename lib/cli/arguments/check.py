"""Check a data set: files, boxes, classes, splits, and how anchors meet its objects."""

from pathlib import Path

from ..parser import Parser, add_overrides, count
from .shared import NET_HELP, net_argument

_EPILOG = (
    "Exit status: 0 trains, 1 trains, but look, 2 cannot train (frcnn train would "
    "also end with 2), wrong arguments, or no space to write."
)


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn check."""
    parser = Parser(prog=prog, description=__doc__, epilog=_EPILOG)
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="shapes, voc, voc0712, coco, or the path of a folder, as for frcnn train",
    )
    parser.add_argument(
        "net",
        metavar="NET",
        nargs="?",
        default="res50",
        type=net_argument,
        help=f"net whose recipe gives the anchors, default res50: {NET_HELP}",
    )
    parser.add_argument(
        "--cfg",
        type=Path,
        metavar="FILE|NAME",
        help="additional recipe, as for frcnn train",
    )
    add_overrides(parser, 'anchors.scales "[2, 4, 8]"')
    parser.add_argument(
        "--pixel-statistics",
        action="store_true",
        help="only print the settings for images that are not 8-bit RGB: mean and "
        "deviation of the training images by channel (docs/channels.md)",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="the page with plots and images, default output/check/<data set>.html",
    )
    parser.add_argument(
        "--pictures",
        type=count,
        default=30,
        help="images on the page, default 30",
    )
    parser.add_argument(
        "--fix", type=Path, metavar="FOLDER", help="write a corrected copy there"
    )
    parser.add_argument(
        "--fix-alike",
        choices=("bytes", "picture", "similar"),
        default="bytes",
        help="which duplicates the copy drops: files of the same bytes (default), "
        "also those with the same image and objects, also near-duplicates such as the "
        "frames of a fixed camera",
    )
    parser.add_argument(
        "--jobs", type=count, help="files read at once, default: one per core"
    )
    return parser
