"""Run an export: load the checkpoint, write the file, check and measure it."""

import dataclasses
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from ..config.settings import Config
from ..datasets.catalog import load_dataset, wanted_by
from ..datasets.records import Dataset
from ..detector.about import LEAST_SIDE, About, Shape
from ..detector.export_error import ExportError
from ..detector.file_inputs import Inputs
from ..detector.from_checkpoint import open_detector
from ..detector.running import Exported, load_exported
from ..evaluation.image_detections import ImageDetections
from ..evaluation.scoring import evaluate
from ..utils.device import pick_device
from ..utils.drawing import Picture
from ..utils.monitoring.progress import Progress
from ..utils.monitoring.slow_steps import named_step
from ..weights.stored_keypoints import stored_keypoints
from ..weights.zoo import open_checkpoint
from . import parity, photos
from .formats import FORMATS, check_expressible, convert_to_openvino, trace
from .program import DetectionProgram, input_multiple
from .quantize import quantize

logger = logging.getLogger(__name__)

_BY_ONNX = ("onnx", "openvino")
_CALIBRATION_PHOTOS = 32
_COMPARED_PHOTOS = 8
_COMPARISON_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Job:
    """An export: the source, the target and the options.

    Attributes:
        checkpoint: the ``.pth`` file.
        to: a key of `FORMATS`.
        output: the file to write; if None, a file beside the checkpoint.
        batch: N; None for any.
        size: H and W; None for any multiples of 32 (of 64 with a pyramid, of 128 for
            RetinaNet) and of ``data.size_multiple``.
        padded: whether images may be smaller than the input.
        device: device to run on, for PyTorch's formats.
        precision: ``float32`` or ``bfloat16``.
        int8: whether to quantize; for ONNX.
        paste: whether masks come out pasted into the original images.
        images: folder of photos to check on; if None, the configuration's test set, or
            generated shapes if that is not available.
        count: number of photos to check on; if None, up to eight, of which those that
            take longer than half a minute are left out.
        calibration: folder of photos to calibrate the quantization on; if None, the
            training set.
        threshold: lowest score of detections that have to agree.
        measure: data set to measure on; if None, none, or the test set with ``int8``.
        overrides: overrides of the configuration, as after ``--set``.
    """

    checkpoint: Path
    to: str
    output: Path | None = None
    batch: int | None = None
    size: tuple[int, int] | None = None
    padded: bool = True
    device: str = "cpu"
    precision: str = "float32"
    int8: bool = False
    paste: bool = False
    images: Path | None = None
    count: int | None = None
    calibration: Path | None = None
    threshold: float = 0.05
    measure: str | None = None
    overrides: tuple[str, ...] = ()


def export(job: Job) -> Path:
    """Write the file, if its detections are those of the detector.

    Returns:
        The file.

    Raises:
        ExportError: options that do not go together, a missing package or compiler, or
            a file that finds something else than the detector. No file is left then.
        CheckpointError: the checkpoint cannot be read.
    """
    state = open_checkpoint(job.checkpoint)
    model, config, classes = open_detector(job.checkpoint, state, job.overrides)
    multiple = input_multiple(config.data.size_multiple, model.strides)
    channels = config.net.raw_channels
    shape = Shape(job.batch, job.size, multiple, job.padded, channels)
    _check(job, shape)
    device = pick_device(job.device)
    low = job.precision == "bfloat16" and job.to != "openvino"  # which rounds itself
    program = DetectionProgram(
        model.to(device),
        boxes=config.boxes,
        test=config.test,
        padded=job.padded,
        dtype=torch.bfloat16 if low else torch.float32,
        paste=job.paste,
    )
    if job.to in _BY_ONNX:
        check_expressible(program)
    about = About.of(
        job.to,
        config,
        classes,
        shape,
        precision=job.precision,
        device=job.device,
        pasted=job.paste and config.mask.enabled,
        keypoints=stored_keypoints(state, config),
    )
    pictures = _pictures(job, config)
    suffix = (".int8" if job.int8 else "") + FORMATS[job.to].suffix
    output = job.output or job.checkpoint.with_suffix(suffix)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as folder:
        # With its own end, which PyTorch insists on.
        end = ".onnx" if job.to in _BY_ONNX else FORMATS[job.to].suffix
        path = Path(folder) / f"exported{end}"
        logger.info("exporting %s", job.checkpoint)
        FORMATS[job.to].write(trace(program, shape), path, about)
        tolerance = parity.TOLERANCES[job.precision]
        for name, exported in _loaded(path, about):
            with named_step(
                f"{name}: comparing with the detector on {len(pictures)} images"
            ):
                batches = _shown(photos.batches(pictures, about), len(pictures))
                found = parity.compare(
                    program,
                    exported,
                    batches if job.count else _in_time(batches),
                    threshold=job.threshold,
                    device=device,
                    tolerance=tolerance,
                )
            logger.info("%s beside the detector: %s", name, found)
            if found.images < len(pictures):
                logger.info(
                    "--count %d compares all images, not the first", len(pictures)
                )
            parity.require_equal(found, tolerance)
        if job.int8:
            path = _quantized(job, config, path, about)
        elif job.measure is not None:
            _measure(path, about, _dataset(job.measure, config, "test"))
        if job.to == "openvino":
            path = _as_openvino(path)
            os.replace(path.with_suffix(".bin"), output.with_suffix(".bin"))
        os.replace(path, output)
    return output


def _as_openvino(path: Path) -> Path:
    """Convert an ONNX file to OpenVINO's ``.xml`` and ``.bin`` beside it."""
    converted = path.with_suffix(".xml")
    if not converted.exists():
        convert_to_openvino(path, converted)
    return converted


def _loaded(path: Path, about: About) -> Iterator[tuple[str, Exported]]:
    """Load a file in each runtime that is meant for it and installed."""
    if about.kind not in _BY_ONNX:
        yield about.kind, load_exported(path)
        return
    if about.kind == "onnx":
        yield "ONNX Runtime", load_exported(path)
    if about.kind == "openvino" or find_spec("openvino"):
        yield "OpenVINO", load_exported(_as_openvino(path))


def _check(job: Job, shape: Shape) -> None:
    """Check that the options go together."""
    suffix = "." + FORMATS[job.to].suffix.rpartition(".")[2]
    if job.output is not None and job.output.suffix != suffix:
        raise ExportError(
            f"--to {job.to} writes {suffix} files, found --output {job.output}; give "
            f"it the end {suffix}"
        )
    if job.to in _BY_ONNX and job.device != "cpu":
        raise ExportError(
            f"files of --to {job.to} are made on the CPU; leave out --device"
        )
    if job.int8 and job.to not in _BY_ONNX:
        raise ExportError(
            f"--int8 is for --to {' and '.join(_BY_ONNX)}, found --to {job.to}"
        )
    if job.size is not None and min(job.size) < LEAST_SIDE:
        raise ExportError(
            f"--size: expected at least {LEAST_SIDE} pixels, found "
            f"{job.size[0]}x{job.size[1]}"
        )
    if not shape.padded and shape.batch != 1 and shape.size is None:
        logger.warning("--bare: all images of a batch must have the same size")


def _quantized(job: Job, config: Config, source: Path, about: About) -> Path:
    """Quantize an ONNX file to int8, and report the loss in accuracy."""
    path = source.with_name("int8.onnx")
    full, about = about, dataclasses.replace(about, precision="int8")
    chosen: Sequence[Path]
    if job.calibration is not None:
        chosen = photos.find_photos(job.calibration, _CALIBRATION_PHOTOS)
    else:
        records = _dataset(config.data.train_set, config, "train").records
        chosen = photos.spread([r.path for r in records], _CALIBRATION_PHOTOS)
    with named_step(f"quantizing by {len(chosen)} photos"):
        done = quantize(source, path, photos.batches(chosen, about), about)
    logger.info(
        "int8: %s; float32: %s, and all that is no convolution or matrix product",
        ", ".join(f"{count} {kind}" for kind, count in done.nodes.items()),
        ", ".join(done.kept),
    )
    try:
        dataset = _dataset(job.measure or config.data.test_set, config, "test")
    except ValueError as error:
        if job.measure is not None:
            raise
        logger.warning("what int8 costs was NOT MEASURED: %s", error)
        return path
    before, after = (
        _measure(file, facts, dataset)
        for file, facts in ((source, full), (path, about))
    )
    for (name, whole), value in zip(before.items(), after.values(), strict=True):
        logger.info("%s: int8 costs %.1f points of mAP", name, 100 * (whole - value))
    return path


def _measure(path: Path, about: About, dataset: Dataset) -> dict[str, float]:
    """Run a file on all images of a data set; return its headline in each runtime."""
    if about.classes != dataset.classes:
        raise ExportError(
            f"the detector knows the classes {', '.join(about.classes[1:])}, but "
            f"{dataset.name} has {', '.join(dataset.classes[1:])}; measure it on a set "
            "of the same classes"
        )
    return {
        name: _mean_ap(name, exported, dataset)
        for name, exported in _loaded(path, about)
    }


def _mean_ap(runtime: str, exported: Exported, dataset: Dataset) -> float:
    about = exported.about
    records, found = dataset.records, list[ImageDetections]()
    batches = photos.batches([record.path for record in records], about)
    for inputs in _shown(batches, len(records)):
        batch = records[len(found) : len(found) + len(inputs.sizes)]
        # A fixed batch may be filled up.
        names = [record.image_id for record in batch]
        names += names[-1:] * (len(inputs.sizes) - len(names))
        found += exported.entries(exported(inputs), inputs, names)[: len(batch)]
    name, value = evaluate(dataset, found).headline
    text = "%s, %s on %s: %s %.1f"
    logger.info(text, runtime, about.precision, dataset.name, name, 100 * value)
    return value


def _shown(batches: Iterable[Inputs], total: int) -> Iterator[Inputs]:
    """Log how many of the images are done."""
    with Progress(total, log_every=max(total // 5, 1), early=True) as progress:
        done = 0
        for inputs in batches:
            yield inputs
            images = min(len(inputs.pixels), total - done)  # a batch may be filled up
            done += images
            progress.update(done, images=images)


def _in_time(batches: Iterable[Inputs]) -> Iterator[Inputs]:
    """Yield a batch, and further ones as long as there is time for them."""
    begun = time.monotonic()
    for number, inputs in enumerate(batches, start=1):
        yield inputs
        taken = time.monotonic() - begun
        if taken * (number + 1) / number > _COMPARISON_SECONDS:
            return


def _pictures(job: Job, config: Config) -> Sequence[Picture | Path]:
    """Return the images to check the file on."""
    count = job.count or _COMPARED_PHOTOS
    if job.images is not None:
        return photos.find_photos(job.images, count)
    try:
        records = _dataset(config.data.test_set, config, "test").records
    except ValueError as error:
        logger.warning("checking on drawn shapes instead of photos: %s", error)
        return photos.drawn_pictures(count)
    return photos.spread([record.path for record in records], count)


def _dataset(name: str, config: Config, split: str) -> Dataset:
    return load_dataset(
        name,
        root=config.data.root,
        split="train" if split == "train" else "test",
        classes=config.data.classes,
        wanted=wanted_by(config),
    )
