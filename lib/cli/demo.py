"""Detect objects in pictures, videos, cameras; or on a page, with --serve."""

import sys
from collections.abc import Sequence

from ..demo.folder import checkpoint_settings, detect_into
from ..demo.run import Wishes
from ..demo.server import serve
from ..demo.sources import find_items, read_list
from ..detector import Detector
from ..detector.from_checkpoint import find_checkpoint
from ..utils.device import keep_freed_memory
from .demo_options import build_parser, default_output
from .user_errors import clear_errors


def main(words: Sequence[str] | None = None, prog: str = "frcnn demo") -> None:
    """Find the sources, load the detector, write the detections."""
    parser = build_parser(prog)
    arguments = parser.parse_args(words)
    if bool(arguments.sources) == arguments.serve:
        parser.error("give either SOURCE... or --serve")
    keep_freed_memory()
    with clear_errors():
        checkpoint = find_checkpoint(arguments.checkpoint)
        folder = arguments.output or default_output(checkpoint)
        listed = read_list(sys.stdin.buffer) if "-" in arguments.sources else []
        items = find_items(arguments.sources, listed=listed, output=folder)
        detector = Detector.from_checkpoint(
            checkpoint,
            device=arguments.device,
            precision=arguments.precision,
            compile=arguments.compile,
            overrides=arguments.overrides,
        )
        if arguments.serve:
            serve(detector, name=checkpoint.name, port=arguments.port)
            return
        settings = checkpoint_settings(checkpoint, arguments.overrides)
        good = detect_into(
            folder,
            items,
            detector,
            settings={**settings, "precision": arguments.precision},
            wishes=Wishes(
                threshold=arguments.threshold,
                classes=arguments.classes and arguments.classes.split(","),
                batch=arguments.batch,
                drawn=not arguments.no_pictures,
                as_json=arguments.json,
                frames=arguments.frames,
            ),
            show=arguments.show,
        )
        sys.exit(0 if good else 1)
