"""The folder of a cleaned copy: paths of its files, all of them inside it."""

import os
from pathlib import Path


class CleanedFolder:
    """A folder that a copy is written into.

    Attributes:
        folder: its path.
        pictures: original of each image in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures: dict[Path, Path] = {}

    def place(self, *names: str | Path) -> Path:
        """Return the path of a new file or folder, and create its parent folder.

        Raises:
            ValueError: it would lie outside, or exists already.
        """
        path = self._inside(*names)
        if path.exists():
            raise ValueError(
                f"{Path(*names)}: expected names that differ for a cleaned copy, found "
                "this one in two of the joined data sets; clean each on its own"
            )
        return path

    def picture(self, images: Path, source: Path, path: Path) -> Path:
        """Return the path of an image's copy.

        An image outside its source's folder keeps only its file name. If another image
        has the same path, a number is added.

        Args:
            images: folder of the copies, relative to this one.
            source: folder that the image's name was relative to.

        Raises:
            ValueError: `images` leads out.
        """
        path = Path(os.path.normpath(path))
        name = Path(os.path.relpath(path, os.path.normpath(source)))
        if name.parts[0] == os.pardir:
            name = Path(path.name)
        number, place = 1, self._inside(images, name)
        while self.pictures.setdefault(place, path) != path:
            number += 1
            numbered = name.with_name(f"{name.stem}_{number}{name.suffix}")
            place = self._inside(images, numbered)
        return place

    def _inside(self, *names: str | Path) -> Path:
        name = os.path.normpath(Path(*names))
        if os.path.isabs(name) or name.split(os.sep)[0] in (os.curdir, os.pardir):
            raise ValueError(
                f"{Path(*names)}: expected a name inside the data set, found one that "
                "leads out of it, where a cleaned copy must not write; correct the name"
            )
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
