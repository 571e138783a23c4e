"""The folder of a cleaned copy: where its files go, none of them outside it."""

import os
from pathlib import Path


class CleanedFolder:
    """A folder that is being filled.

    Attributes:
        folder: where it is.
        pictures: of which file each picture in it is the copy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures: dict[Path, Path] = {}

    def place(self, *names: str | Path) -> Path:
        """Give the path of a new file or folder, with the folder around it made.

        Raises:
            ValueError: it would lie outside, or is there already.
        """
        path = self._inside(*names)
        if path.exists():
            raise ValueError(
                f"{Path(*names)}: expected names that differ for a cleaned copy, found "
                "this one in two of the joined data sets; clean each on its own"
            )
        return path

    def picture(self, images: Path, source: Path, path: Path) -> Path:
        """Give the path of a picture's copy.

        A picture that lies outside its source's folder is kept by its file name. Where
        another picture has that place, a number is added.

        Args:
            images: the folder of the copies, relative to this one.
            source: the folder that the picture's name was relative to.
            path: the picture.

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
