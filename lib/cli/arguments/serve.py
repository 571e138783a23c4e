"""Answer requests with pictures over HTTP: JSON with boxes, masks and keypoints.

Requests that arrive together are detected together. Meant for a network behind a proxy
that adds TLS and knows who may ask; it listens on 127.0.0.1 unless told otherwise.
"""

import argparse

from ..parser import Parser, add_device, add_overrides, count, score


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn serve."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("checkpoint", help="a .pth file, a run's folder, or a name of the model zoo")
    add("--host", default="127.0.0.1", help="address; 0.0.0.0 for all of the machine's")
    add("--port", type=int, default=8000, help="default 8000; 0 for any free one")
    add(
        "--threshold",
        type=score,
        default=0.05,
        help="least score of an answer, default 0.05; a request may ask for more",
    )
    add(
        "--batch",
        type=count,
        default=8,
        metavar="N",
        help="pictures in a pass, default 8",
    )
    add(
        "--wait",
        type=_milliseconds,
        default=5,
        metavar="MS",
        help="milliseconds that a picture waits for others, default 5",
    )
    add(
        "--queue",
        type=count,
        default=32,
        metavar="N",
        help="pictures that may wait, default 32; further ones get 503",
    )
    add("--max-mib", type=count, default=16, help="of a request, default 16")
    add("--max-megapixels", type=count, default=50, help="of a picture, default 50")
    add(
        "--timeout",
        type=count,
        default=30,
        metavar="SECONDS",
        help="for a request to arrive, and for its detections, default 30",
    )
    add_device(parser, precision=True)
    add_overrides(parser, "test.nms_threshold 0.5")
    return parser


def _milliseconds(text: str) -> float:
    if text.isdecimal() and int(text) <= 10_000:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"expected milliseconds from 0 to 10000, found {text!r}"
    )
