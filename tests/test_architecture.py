"""docs/architecture.md shows the folders of lib/ and their imports as they are."""

import re

from command_lines import REPOSITORY
from test_imports import ORDER, imports

TEXT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def imported_folders():
    """The folders that each folder imports, without what follows from the others."""
    direct = {folder: set() for folder in ORDER}
    for file, targets in imports().items():
        direct[file[0]] |= {target[0] for target in targets} - {file[0]}
    below = {}
    for folder in reversed(ORDER):  # those below come first
        below[folder] = direct[folder].union(*(below[f] for f in direct[folder]))
    return [
        (folder, target)
        for folder in ORDER
        for target in sorted(direct[folder], key=ORDER.index)
        if not any(target in below[other] for other in direct[folder] - {target})
    ]


def test_the_list_is_in_the_order_of_imports():
    assert re.findall(r"^\| \[`(\w+)`\]", TEXT, re.MULTILINE) == list(ORDER)


def test_the_picture_shows_the_imports():
    picture = re.search(r"```mermaid\n(.*?)```", TEXT, re.DOTALL)[1]
    shown = re.findall(r"^  (\w+) --> (\w+)$", picture, re.MULTILINE)
    expected = [
        tuple(folder.replace("__init__", "faster_rcnn") for folder in arrow)
        for arrow in imported_folders()
    ]
    assert shown == expected
