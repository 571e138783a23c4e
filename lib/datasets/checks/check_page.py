"""The report as one HTML file: plots, tables and pictures, nothing from elsewhere."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ...utils.files import write_atomic
from .entries import KINDS
from .inline_svg import bars, histogram, scatter
from .run_checks import Report
from .text import Rows, class_table, coverage_lines, kind_table, size_lines
from .worst_images import Shown, worst_pictures

_ROWS = 2000

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5c6670; --paper: #fff;
  --line: #d5dae0; --bar: #3a76b8; --mark: #c2410c; --bad: #b91c1c; --good: #15803d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1;
  --paper: #14171b; --line: #343b43; --bar: #6aa5e8; --mark: #fb923c;
  --bad: #f87171; --good: #4ade80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .5rem; font-size: 1.15rem; }
p { margin: .3rem 0; }
.fail { color: var(--bad); font-weight: 700; }
.look { color: var(--mark); font-weight: 700; }
.fine { color: var(--good); font-weight: 700; }
.soft { color: var(--soft); }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); }
.table { overflow-x: auto; max-height: 85vh; overflow-y: auto;
  border: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
td.long { overflow-wrap: anywhere; min-width: 12rem; }
td:first-child { overflow-wrap: anywhere; min-width: 7rem; }
th { position: sticky; top: 0; background: var(--paper); cursor: pointer;
  white-space: nowrap; }
th[aria-sort=ascending]::after { content: " \\2191"; }
th[aria-sort=descending]::after { content: " \\2193"; }
input { font: inherit; width: min(100%, 24rem); margin: 0 0 .5rem;
  padding: .2rem .5rem; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; font: 14px system-ui, sans-serif; }
svg text { fill: var(--soft); }
.bar, .dot { fill: var(--bar); }
.dot { fill-opacity: .5; }
.axis { stroke: var(--soft); }
.mark { stroke: var(--mark); stroke-dasharray: 4 3; stroke-width: 1.5; }
"""

_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const text = row => row.cells[column].textContent;
      const number = row => text(row) === "" ? -Infinity : Number(text(row));
      const rows = [...body.rows];
      const numeric = rows.every(row => !Number.isNaN(number(row)));
      rows.sort((a, b) => numeric ? (number(a) > number(b)) - (number(a) < number(b))
                                  : text(a).localeCompare(text(b)));
      if (down) rows.reverse();
      body.append(...rows);
      for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
const filter = document.querySelector("input");
if (filter) filter.addEventListener("input", () => {
  const wanted = filter.value.toLowerCase();
  for (const row of document.querySelector("#defects tbody").rows)
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
"""


def write_page(path: Path, report: Report, *, pictures: int = 30) -> None:
    """Write the report as a page that needs no other file and no network.

    Args:
        path: the file; its folder is made if missing.
        report: what to show.
        pictures: how many images are shown, the worst first.
    """
    figures = map(_figure, worst_pictures(report, most=pictures))
    colour = {"fine": "fine", "will train, but look": "look", "cannot train": "fail"}
    verdict = f"<span class={colour[report.verdict]}>{report.verdict}</span>"
    parts = [
        f"<h1>{escape(report.name)} {verdict}</h1>",
        _paragraphs(size_lines(report)),
        "<h2>Defects</h2>",
        _table(kind_table(report)) if report.kinds else "<p>None found.</p>",
        _defects(report),
        "<h2>Anchors</h2>",
        _paragraphs(coverage_lines(report.coverage)),
        f"<div class=grid>{''.join(_plots(report))}</div>",
        "<h2>Classes</h2>",
        "<p class=soft>objects per split; images with the class; median side (root of "
        "the area, pixels of the network input) and height / width; mean best IoU and "
        "number of objects below 0.5</p>",
        _table(class_table(report)),
        "<h2>Images, the worst first</h2>",
        "<p class=soft>Faulty boxes are red; a number is the IoU of an object that no "
        "anchor meets by half.</p>",
        f"<div class=grid>{''.join(figures)}</div>",
    ]
    write_atomic(
        path,
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.name)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>{_SCRIPT}</script></body></html>\n",
    )


def _plots(report: Report) -> list[str]:
    coverage, recipe = report.coverage, report.coverage.recipe
    objects = coverage.objects
    listed = [entry for entry in report.entries if entry.splits]
    totals = Counter(written.name for e in listed for written in e.objects)
    most = totals.most_common(40)
    sizes = [entry.size for entry in listed if min(entry.size) > 0]
    return [
        histogram(
            coverage.overlaps,
            label="objects by best IoU with an anchor",
            marks=(0.3, 0.5, 0.7),
            limits=(0, 1),
        ),
        histogram(
            coverage.sides,
            label="side in network pixels; dashed: anchors",
            marks=recipe.sides,
            log=True,
        ),
        histogram(
            objects.ratios(recipe.offset),
            label="height / width; dashed: anchors",
            marks=recipe.ratios,
            log=True,
        ),
        scatter(
            [width for width, _ in sizes],
            [height for _, height in sizes],
            label="width and height of images, pixels",
        ),
        histogram(
            [float(len(entry.objects)) for entry in listed],
            label="images by number of objects",
            whole=True,
        ),
        bars(
            [name for name, _ in most],
            [count for _, count in most],
            label="objects per class",
        ),
    ]


def _defects(report: Report) -> str:
    if not report.defects:
        return ""
    rows = [["kind", "", "file", "what"]]
    for defect in report.defects[:_ROWS]:
        weight = KINDS[defect.kind].weight
        rows.append([defect.kind, weight, str(defect.file), defect.detail])
    left = len(report.defects) - _ROWS
    more = f"<p class=soft>and {left} more</p>" if left > 0 else ""
    return (
        "<h2>Each of them</h2>"
        '<input type=search placeholder="only with ..." aria-label="only with">'
        f"<div id=defects>{_table(rows, long=2)}</div>{more}"
    )


def _table(rows: Rows, *, long: int | None = None) -> str:
    """Make a sortable table; columns from `long` on may break anywhere."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=long' if long is not None and place >= long else ''}>"
            f"{escape(cell)}</td>"
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows[1:]
    )
    return (
        f"<div class=table><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _figure(shown: Shown) -> str:
    remarks = "".join(f"<br>{escape(remark)}" for remark in shown.remarks)
    return (
        f'<figure><img src="data:image/jpeg;base64,{shown.jpeg}" loading=lazy '
        f'width={shown.width} height={shown.height} alt="">'
        f"<figcaption><b>{escape(shown.title)}</b>{remarks}</figcaption></figure>"
    )


def _paragraphs(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
