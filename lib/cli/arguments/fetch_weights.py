"""Download and verify published weights, for work without a network.

A NET stands for its ImageNet weights from torchvision; any other NAME is a name from
docs/zoo.md. Files go to the folder FRCNN_HOME (~/.cache/faster_rcnn), where training,
testing and Detector look for them; torchvision's are also found in the cache of
torch.hub. Existing files are verified, and downloaded again only if damaged.
Interrupted downloads resume. The other programs download the weights they need in the
same way.
"""

import argparse

from ...config.settings import NET_NAMES
from ..parser import Parser


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn fetch weights."""
    parser = Parser(prog=prog, description=__doc__, check=_check)
    parser.add_argument(
        "names", nargs="*", metavar="NET|NAME", help=f"{', '.join(NET_NAMES)}; a name"
    )
    parser.add_argument("--list", action="store_true", help="print all names")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the steps, and do nothing"
    )
    return parser


def _check(arguments: argparse.Namespace) -> str | None:
    enough = arguments.names or arguments.list
    return None if enough else "expected a NET or NAME, or --list"
