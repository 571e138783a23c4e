#!/usr/bin/env python3
"""Detect objects in pictures, videos, cameras; or on a page, with --serve."""

import sys

from faster_rcnn.demo.command_line import build_parser, default_output
from faster_rcnn.demo.folder import checkpoint_settings, detect_into
from faster_rcnn.demo.run import Wishes
from faster_rcnn.demo.server import serve
from faster_rcnn.demo.sources import find_items, read_list
from faster_rcnn.detector import Detector
from faster_rcnn.detector.opening import find_checkpoint
from faster_rcnn.model.device import keep_freed_memory
from faster_rcnn.model.user_errors import clear_errors


def main() -> None:
    """Find the sources, open the detector, write what it finds."""
    parser = build_parser()
    arguments = parser.parse_args()
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


if __name__ == "__main__":
    main()
