"""Detect objects in pictures, videos, cameras; or on a page, with --serve."""

import argparse
import sys
from pathlib import Path

from ..demo.folder import checkpoint_settings, detect_into
from ..demo.run import DemoOptions
from ..demo.server import serve
from ..demo.sources import find_items, read_list
from ..detector import Detector, read_thresholds
from ..detector.from_checkpoint import find_checkpoint
from ..evaluation.score_thresholds import class_thresholds
from ..utils.device import keep_freed_memory
from ..utils.monitoring.slow_steps import slow_step
from ..utils.shared_cores import share_cores
from .roots import output_root
from .user_errors import clear_errors


def main(arguments: argparse.Namespace) -> None:
    """Find the sources, load the detector, write the detections."""
    keep_freed_memory()
    share_cores()
    if arguments.tiles is not None:
        arguments.overrides += ["test.tiles", str(arguments.tiles)]
    with clear_errors():
        checkpoint = find_checkpoint(arguments.checkpoint)
        folder = arguments.output or default_output(checkpoint)
        listed = read_list(sys.stdin.buffer) if "-" in arguments.sources else []
        by_class = {}
        if arguments.thresholds is not None:
            by_class = read_thresholds(arguments.thresholds)
        items = find_items(arguments.sources, listed=listed, output=folder)
        with slow_step(f"loading {checkpoint}"):
            detector = Detector.from_checkpoint(
                checkpoint,
                device=arguments.device,
                precision=arguments.precision,
                compile=arguments.compile,
                overrides=arguments.overrides,
                features=arguments.features,
                all_scores=arguments.all_scores,
            )
        if arguments.serve:
            serve(detector, name=checkpoint.name, port=arguments.port)
            return
        settings = checkpoint_settings(checkpoint, arguments.overrides)
        by_class = {**detector.config.test.class_thresholds, **by_class}
        class_thresholds(detector.classes, arguments.threshold, by_class)
        usual = dict.fromkeys(detector.classes[1:], arguments.threshold)
        good = detect_into(
            folder,
            items,
            detector,
            settings={
                **settings,
                "precision": arguments.precision,
                "features": arguments.features,
                "all_scores": arguments.all_scores,
            },
            options=DemoOptions(
                threshold={**usual, **by_class} if by_class else arguments.threshold,
                classes=arguments.classes and arguments.classes.split(","),
                batch=arguments.batch,
                drawn=not arguments.no_pictures,
                as_json=arguments.json,
                frames=arguments.frames,
                track=arguments.track,
                mot=arguments.mot,
            ),
            show=arguments.show,
            out=arguments.out,
            exports=arguments.export,
        )
        sys.exit(0 if good else 1)


def default_output(checkpoint: Path) -> Path:
    """Return a folder for a checkpoint's results, which includes the run's name."""
    place = checkpoint.resolve().parent
    run = f"{place.parent.name}-" if place.name == "checkpoints" else ""
    return output_root() / "demo" / f"{run}{checkpoint.stem}"
