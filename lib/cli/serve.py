"""Answer requests with pictures over HTTP."""

import argparse

from ..detector import Detector
from ..detector.from_checkpoint import find_checkpoint
from ..serving.listen import listen, require_packages
from ..serving.service import Limits, Service
from ..utils.device import keep_freed_memory
from ..utils.monitoring.slow_steps import slow_step
from ..utils.shared_cores import share_cores
from .user_errors import clear_errors


def main(arguments: argparse.Namespace) -> None:
    """Load the detector, and answer until a signal."""
    keep_freed_memory()
    share_cores()
    with clear_errors():
        require_packages()
        checkpoint = find_checkpoint(arguments.checkpoint)
        with slow_step(f"loading {checkpoint}"):
            detector = Detector.from_checkpoint(
                checkpoint,
                device=arguments.device,
                precision=arguments.precision,
                overrides=arguments.overrides,
            )
        service = Service(
            detector,
            name=checkpoint.name,
            score_threshold=arguments.threshold,
            limits=Limits(
                bytes=arguments.max_mib << 20,
                pixels=arguments.max_megapixels * 1_000_000,
                queue=arguments.queue,
                batch=arguments.batch,
                wait_seconds=arguments.wait / 1000,
                body_seconds=arguments.timeout,
                answer_seconds=arguments.timeout,
            ),
        )
        service.warm_up()
        listen(service, host=arguments.host, port=arguments.port)
