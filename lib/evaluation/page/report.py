"""Write the report of a test: one self-contained HTML file, plots and JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ...datasets.records import Dataset
from ...utils.files import write_atomic
from ...utils.monitoring.slow_steps import slow_step
from ...utils.pages.elements import facts
from ...utils.pages.render import render
from ...utils.untrusted.json_files import read_json
from ..analysis.comparison import compare_results
from ..analysis.error_analysis import ErrorAnalysis, analyse_errors
from ..analysis.instance_quality import keypoint_quality, mask_overlaps
from ..image_detections import ImageDetections
from ..results import load_detections
from ..scoring import Evaluation, Rules, evaluate
from .gallery import changed_images, worst_items, worst_masks
from .gallery_images import gallery_data
from .plots import main_plots
from .sections import classes, compared, confused, errors, instances, summary

_PAIRS = 24  # images of the comparison with an earlier test
_MASKS = 30  # masks with a low overlap


@slow_step("analysing errors")
def write_report(
    folder: Path,
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    evaluation: Evaluation,
    *,
    earlier: Path | None = None,
    known: Mapping[str, str] = MappingProxyType({}),
    pictures: int = 160,
    resamples: int = 1000,
) -> ErrorAnalysis:
    """Write a report on the errors of a test, and return the analysis in errors.json.

    Args:
        folder: folder for report.html, errors.json, and PNGs of the plots in plots/.
        dataset: the test set; its images are read for the galleries.
        earlier: folder of another test on the same data set, to compare with.
        known: further facts for the header, by their names, such as the net.
        pictures: largest number of false detections and misses in the gallery.

    Raises:
        ValueError: detections do not match the data set, or ``earlier`` contains no
            valid detections.json.
        OSError: a file cannot be written, for example because the disk is full.
    """
    analysis = analyse_errors(dataset, detections, resamples=resamples)
    before = None
    comparison = None
    changed: list[tuple[int, str]] = []
    if earlier is not None:
        others = _earlier_detections(earlier, dataset)
        before = analyse_errors(dataset, others, resamples=resamples)
        changed = changed_images(before, analysis, most=_PAIRS)
        comparison = compared(
            "/".join(earlier.parts[-3:]),
            (evaluate(dataset, others, rules=_rules(evaluation) or None), evaluation),
            (before, analysis),
            compare_results(before, analysis),
        )
    overlaps = mask_overlaps(dataset, analysis.matches)
    quality = keypoint_quality(dataset, analysis.matches, evaluation.sigmas)
    plots = main_plots(analysis, before)
    data = gallery_data(
        dataset,
        worst_items(analysis, most=pictures),
        analysis,
        changed=changed,
        poor_masks=(overlaps and worst_masks(analysis, overlaps, most=_MASKS)) or (),
        earlier=before,
    )
    found = analysis.to_json()
    if overlaps is not None:
        found["mask_iou"] = overlaps.to_json(analysis.matches)
    if quality is not None:
        found["keypoints"] = quality.to_json()
    content = json.dumps(found, indent=2, allow_nan=False)
    write_atomic(folder / "errors.json", content + "\n")
    for stem, plot in plots.items():
        write_atomic(folder / "plots" / f"{stem}.png", plot.png())
    page = render(
        "evaluation/page/report.html",
        title=f"{known.get('net', 'detections')} on {evaluation.dataset}",
        facts=facts(**known, data=evaluation.dataset),
        class_names=analysis.matches.classes[1:],
        summary=summary(evaluation, analysis, _settings(folder)),
        classes=classes(evaluation, analysis),
        errors=errors(analysis),
        instances=instances(overlaps, quality, analysis),
        confused=confused(analysis),
        earlier=comparison,
        plots=plots,
        data=data,
    )
    write_atomic(folder / "report.html", page)
    return analysis


def _earlier_detections(folder: Path, dataset: Dataset) -> list[ImageDetections]:
    path = folder / "detections.json"
    if not path.is_file():
        raise ValueError(
            f"{path}: expected the detections.json of an earlier test, found no such "
            "file; give the folder that the test wrote"
        )
    return load_detections(path, dataset)


def _settings(folder: Path) -> dict[str, object]:
    """Read the settings of a test that ``save_results`` stored in its folder."""
    path = folder / "results.json"
    if not path.is_file():
        return {}
    content = read_json(
        path, expected="the results of a test", remedy="test the checkpoint again"
    )
    settings = content.get("settings") if isinstance(content, dict) else None
    flat: dict[str, object] = {}
    for key, value in (settings or {}).items():
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"{key}.{name}".rstrip("."): each for name, each in inner.items()}
    return flat


def _rules(evaluation: Evaluation) -> list[Rules]:
    rules: list[Rules] = ["voc"] if evaluation.voc else []
    return [*rules, "coco"] if evaluation.coco else rules
