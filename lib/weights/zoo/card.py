"""The model card: a description of a published file for its users."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...config.loading import config_from_checkpoint
from ...config.settings import Config

NO_LICENCE = "not chosen yet; ask before you use these weights"


def model_card(
    content: Mapping[str, Any], file: Path, *, sha256: str, licence: str = NO_LICENCE
) -> str:
    """Write the Markdown description of a file of a `published_state`."""
    config, classes = content["config"], content["classes"][1:]
    net, train, data = config["net"], config["train"], config["data"]
    whole = config_from_checkpoint(content, [])
    full_name = whole.net.full_name
    recorded = (content["model"][key] for key in ("pixel_mean", "pixel_std"))
    mean, std = (tuple(tensor.flatten().tolist()) for tensor in recorded)
    kind, pixels = content["normalisation"], "RGB, 0..255"
    if whole.net.raw_channels is not None:
        kind, pixels = "of its data", f"{whole.net.in_channels} channels as stored"
    averaged = ", weights averaged over updates" if content["averaged"] else ""
    lines = [
        f"# {file.stem}",
        "",
        f"A {_kind(whole)} detector with the net {full_name}.",
        "",
        "| | |",
        "|---|---|",
        f"| file | `{file.name}`, {file.stat().st_size} bytes |",
        f"| SHA-256 | `{sha256}` |",
        f"| trained on | {data['train_set']} |",
        f"| first weights | {net['weights']} |",
        f"| schedule | {content['iteration']} of {train['iterations']} updates, "
        f"batches of {train['batch_size']}, {train['optimizer']}, learning rate "
        f"{train['lr']:g}, {train['schedule']}{averaged} |",
        f"| test size | short side {data['test_short_side']} px, long side at most "
        f"{data['test_long_side']} px |",
        f"| input | {pixels}, minus mean {_row(mean)}, over deviation {_row(std)} "
        f"({kind}); done inside the detector |",
        f"| licence | {licence} |",
        "",
        f"## Classes ({len(classes)})",
        "",
        ", ".join(classes),
        "",
        "## Results",
        "",
        *_results(content, file, full_name),
        "",
        "## Use",
        "",
        "    from faster_rcnn import Detector",
        f'    detections = Detector.from_checkpoint("{file.name}")("photo.jpg")',
        "",
        "    # fine-tuning on other classes",
        f"    frcnn train DATASET {full_name} --weights {file.name}",
        "",
        "## Limits",
        "",
        "It finds the classes above in pictures like those it was trained on; on "
        "others its figures do not hold. Scores are no probabilities.",
        "",
    ]
    return "\n".join(lines)


def _kind(config: Config) -> str:
    """Return the detector's name in the papers."""
    if config.net.detector == "retinanet":
        return "RetinaNet"
    kinds = [
        *["Cascade"] * bool(config.head.cascade),
        *["Mask"] * config.mask.enabled,
        *["Keypoint"] * config.keypoint.enabled,
    ]
    return f"{' '.join(kinds) or 'Faster'} R-CNN"


def _results(content: Mapping[str, Any], file: Path, net: str) -> list[str]:
    if not content["metrics"]:
        return ["Not measured."]
    lines = ["| test set | images | figures |", "|---|---|---|"]
    for name, figures in content["metrics"].items():
        headline = figures["headline"]
        others = [
            f"{key} {value:.4f}"
            for key, value in figures.items()
            if key not in ("headline", "images", headline)
        ]
        first = [f"**{headline} {figures[headline]:.4f}**"] * (headline in figures)
        lines.append(f"| {name} | {figures['images']} | {', '.join(first + others)} |")
    return [
        *lines,
        "",
        "Measured by",
        "",
        f"    frcnn test DATASET {net} --checkpoint {file.name}",
    ]


def _row(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
