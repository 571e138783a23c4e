"""MkDocs hook that adds the pages of the site that are not files of docs/.

It adds README and similar files, a page of the API reference for each folder of lib/,
and a page for each file outside docs/ that a page links to.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "data/README.md": "data_folder.md",
    "output/README.md": "output_folder.md",
}
"""Markdown files outside docs/, and their paths in the site."""

LINK = re.compile(r"(?<=\]\()(?!https?:)([^)\s#]+)(#[^)\s]*)?(?=\))")
SUFFIXES = {".md": "markdown", ".py": "python", ".sh": "bash", ".yml": "yaml"}
"""Languages of the files that get a page."""


# The API reference reads lib/ under the name of the package. The link is created on
# import, because mkdocstrings searches its sources before the first event of a hook.
_package = ROOT / "output" / "site_sources" / "faster_rcnn"
_package.parent.mkdir(parents=True, exist_ok=True)
if not _package.is_symlink():
    _package.symlink_to(Path("../../lib"), target_is_directory=True)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and convert their links to paths of the site."""
    places = PAGES | {
        f"docs/{file.src_uri}": file.src_uri for file in files if file.abs_src_path
    }
    pages = {
        place: (ROOT / source).read_text(encoding="utf-8")
        for source, place in places.items()
        if source.endswith(".md")
    }
    origins = {place: source for source, place in places.items()}
    pages |= _api_pages()
    linked: set[str] = set()
    for place in origins.keys() & pages.keys():
        pages[place] = _with_links(
            pages[place], origins[place], place, places=places, linked=linked
        )
    for path in sorted(linked):
        pages[_source_page(path)] = _source(path)
        if (ROOT / path).is_dir():
            for entry in _entries(path):
                pages[_source_page(entry)] = _source(entry)
    for place, text in pages.items():
        old = files.get_file_from_path(place)
        if old is not None:
            files.remove(old)
        files.append(File.generated(config, place, content=text))
    return files


def _with_links(
    text: str, source: str, place: str, *, places: dict[str, str], linked: set[str]
) -> str:
    """Convert the relative links of a file, and add linked sources to ``linked``."""

    def turned(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if not (ROOT / path).exists():
            return match[0]  # not a link, or a broken one, which --strict reports
        if path not in places and _api_page(path) is None:
            linked.add(path)
        target = places.get(path) or _api_page(path) or _source_page(path)
        relative = posixpath.relpath(target, posixpath.dirname(place) or ".")
        return relative + (match[2] or "")

    return LINK.sub(turned, text)


def _api_page(path: str) -> str | None:
    """Return the path of the reference of a folder of lib/; None for other paths."""
    parts = path.split("/")
    if parts[0] != "lib" or not (ROOT / path).is_dir():
        return None
    return f"api/{parts[1]}.md" if len(parts) > 1 else "api/index.md"


def _api_pages() -> dict[str, str]:
    folders = (path.parent.name for path in ROOT.glob("lib/*/__init__.py"))
    packages = sorted(["api", *folders])
    pages = {f"api/{name}.md": f"::: faster_rcnn.{name}\n" for name in packages}
    rows = "\n".join(f"- [`faster_rcnn.{name}`]({name}.md)" for name in packages)
    pages["api/index.md"] = (
        "# API reference\n\nThe docstrings of each folder of `lib/`; "
        "[architecture.md](../architecture.md) describes the folders. What "
        "`faster_rcnn` itself exports is in [`faster_rcnn.api`](api.md) and "
        f"[`faster_rcnn.detector`](detector.md).\n\n{rows}\n"
    )
    return pages


def _source_page(path: str) -> str:
    return f"source/{path.removeprefix('.')}.md"


def _entries(folder: str) -> list[str]:
    return sorted(
        f"{folder}/{entry.name}"
        for entry in (ROOT / folder).iterdir()
        if entry.suffix in SUFFIXES
    )


def _source(path: str) -> str:
    """Return the page of a file, or of a folder with links to its files."""
    title = f"# `{path}`\n\n"
    if (ROOT / path).is_dir():
        names = (posixpath.basename(entry) for entry in _entries(path))
        base = posixpath.basename(path)
        return title + "\n".join(f"- [`{name}`]({base}/{name}.md)" for name in names)
    language = SUFFIXES.get(posixpath.splitext(path)[1], "text")
    text = (ROOT / path).read_text(encoding="utf-8")
    return f"{title}~~~~{language}\n{text}~~~~\n"
