"""The report of a test in one HTML file, that needs no other and no network."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ...datasets.records import Dataset
from ...utils.files import write_atomic
from ...utils.untrusted.json_files import read_json
from ..analysis.comparison import compare_results
from ..analysis.error_analysis import ErrorAnalysis, analyse_errors
from ..analysis.error_costs import KINDS
from ..results import ImageDetections, load_detections
from ..scoring import Evaluation, Rules, evaluate
from .canvas import Drawing
from .earlier import changed_images, comparison_section
from .error_sections import confusion, errors
from .gallery import worst_items
from .main_plots import main_plots
from .script import SCRIPT
from .sections import classes, summary
from .style import STYLE
from .thumbnails import picture_data

_PAIRS = 24


def write_report(
    folder: Path,
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    evaluation: Evaluation,
    *,
    earlier: Path | None = None,
    pictures: int = 160,
    resamples: int = 1000,
) -> ErrorAnalysis:
    """Analyse a test and write what was found, for people and for programs.

    Args:
        folder: gets report.html, errors.json, and PNGs of the plots in plots/.
        dataset: the test set; its images are read for the galleries.
        detections: one entry per image of ``dataset``.
        evaluation: of those detections.
        earlier: folder of another test on the same data set, to compare with.
        pictures: how many false detections and misses are shown, at most.
        resamples: draws behind the intervals.

    Returns:
        What errors.json holds.

    Raises:
        ValueError: detections that do not fit the data set; no usable detections.json
            in ``earlier``.
        OSError: a file cannot be written, for example because the disk is full.
    """
    analysis = analyse_errors(dataset, detections, resamples=resamples)
    before = None
    compared = ""
    changed: list[tuple[int, str]] = []
    if earlier is not None:
        others = _earlier_detections(earlier, dataset)
        before = analyse_errors(dataset, others, resamples=resamples)
        changed = changed_images(before, analysis, most=_PAIRS)
        compared = comparison_section(
            "/".join(earlier.parts[-3:]),
            (evaluate(dataset, others, rules=_rules(evaluation)), evaluation),
            (before, analysis),
            compare_results(before, analysis),
        )
    plots = main_plots(analysis, before)
    data = picture_data(
        dataset,
        worst_items(analysis, most=pictures),
        analysis,
        changed=changed,
        earlier=before,
    )
    content = json.dumps(analysis.to_json(), indent=2, allow_nan=False)
    write_atomic(folder / "errors.json", content + "\n")
    for stem, plot in plots.items():
        write_atomic(folder / "plots" / f"{stem}.png", plot.png())
    write_atomic(
        folder / "report.html",
        _page(evaluation, analysis, plots, compared, data, _settings(folder)),
    )
    return analysis


def _earlier_detections(folder: Path, dataset: Dataset) -> list[ImageDetections]:
    path = folder / "detections.json"
    if not path.is_file():
        raise ValueError(
            f"expected the folder of an earlier test, with detections.json in it, "
            f"found none at {path}; give the folder that a test wrote"
        )
    return load_detections(path, dataset)


def _settings(folder: Path) -> dict[str, object]:
    """What ``save_results`` left in the folder about how the numbers came about."""
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


def _page(
    evaluation: Evaluation,
    analysis: ErrorAnalysis,
    plots: dict[str, Drawing],
    compared: str,
    data: dict[str, object],
    settings: dict[str, object],
) -> str:
    parts = {
        "Summary": summary(evaluation, analysis, plots, settings),
        "Classes": classes(evaluation, analysis),
        "Errors": errors(analysis, plots),
        "Confusion": confusion(analysis, plots),
        "Pictures": _gallery(),
    }
    if compared:
        parts["Earlier"] = f"{compared}<div id=pairs class='cards pairs'></div>"
    links = "".join(f'<a href="#{head.lower()}">{head}</a>' for head in parts)
    sections = "".join(
        f"<section id={head.lower()}><h2>{_HEADS.get(head, head)}</h2>{part}</section>"
        for head, part in parts.items()
    )
    options = "".join(
        f"<option>{escape(name)}</option>" for name in analysis.matches.classes[1:]
    )
    name = escape(evaluation.dataset)
    # An image id may hold anything, but must not end the script that holds it.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{name}: test report</title><style>{STYLE}</style></head>\n<body>"
        f"<header><h1>{name}</h1><p class=soft>Test report</p></header>"
        f"<div class=bar><div><nav aria-label=sections>{links}</nav><label>Class "
        f"<select id=class><option value=''>all</option>{options}</select></label>"
        f"</div></div>\n<main>{sections}</main>\n{_DIALOG}"
        f"<script type=application/json id=data>{text}</script>\n"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


_HEADS = {
    "Errors": "What the errors cost",
    "Confusion": "Which class is taken for which",
    "Pictures": "The worst false detections and misses",
    "Earlier": "Compared with an earlier test",
}

_DIALOG = (
    "<dialog aria-labelledby=title><div class=head><b id=title></b>"
    "<button type=button class=plain id=previous aria-label=previous>←</button>"
    "<button type=button class=plain id=next autofocus aria-label=next>→</button>"
    "<button type=button class=plain id=close>Close</button></div>"
    "<div id=large class=large></div></dialog>\n"
)


def _gallery() -> str:
    kinds = "".join(f"<option>{kind}</option>" for kind in KINDS[:-1])
    keys = "".join(
        f"<span class=key><i class={role}></i>{text}</span>"
        for role, text in (
            ("false", "false detection"),
            ("missed", "missed object"),
            ("truth", "object found"),
            ("true", "true detection (enlarged)"),
            ("ignored", "does not count"),
        )
    )
    return (
        "<p class=soft>The surest false detections and the largest missed objects of "
        "every class in turn. An object is missed if no true detection reaches the "
        "best score of its class. Rest on a box to read about it, press a picture to "
        "enlarge it.</p><div class=tools><label>Show <select id=kind>"
        "<option value=''>all</option><option value=false>false detections</option>"
        f"<option value=missed>missed objects</option>{kinds}</select></label>"
        f"<span id=count role=status></span>{keys}</div>"
        "<div id=cards class=cards></div>"
    )
