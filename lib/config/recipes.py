"""The recipes of a net on a data set: files of the package ``faster_rcnn.recipes``.

They lie in ``experiments/cfgs`` of the source.
"""

import difflib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from .loading import ConfigError
from .settings import split_net
from .words import WORDS

PACKAGE = "faster_rcnn.recipes"


def recipe_folder() -> Path:
    """Where the packaged recipes lie.

    Raises:
        ConfigError: they are not installed.
    """
    try:
        return Path(str(files(PACKAGE)))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"found no recipes: the package {PACKAGE} is not installed; install "
            "faster-rcnn again (in a checkout: pip install --editable .)"
        ) from error


def find_recipes(dataset: str, net: str) -> list[Path]:
    """Recipes of a net on a data set, the more special ones later.

    Of ``res50_fpn`` on ``coco``: ``fpn.yml``, ``res50.yml``, ``res50_fpn.yml``,
    ``coco.yml``, then ``coco_fpn.yml``, ``coco_res50.yml`` and ``coco_res50_fpn.yml``,
    those that are there. Data of one's own takes ``own_data.yml``, ``own_data_fpn.yml``
    and so on, whatever it is called, and then the recipes that lie in its folder:
    ``recipe.yml``, ``recipe_fpn.yml`` and so on.

    Args:
        dataset: DATASET as given on the command line: a word, a path, several joined;
            "" for data that is not known.
        net: NET, with the kind of its features.

    Raises:
        ConfigError: there is none for the kind of net, for a published data set, or for
            one's own data: defaults are no settings to train with.
    """
    name, kind = split_net(net)
    parts = [name] if kind == "c4" else [kind, name, net]
    if kind != "c4":
        _expect([kind], f"nets with _{kind}")
    published = dataset in WORDS
    name = dataset if published else "own_data"
    own = [name, *(f"{name}_{part}" for part in parts)]
    if published:
        _expect(own, f"{net} on {dataset}")
    else:
        _expect(own[:1], "data of one's own")
    found = _recipes([*parts, *own])
    if dataset and not published:
        names = ["recipe", *(f"recipe_{part}" for part in parts)]
        found += _recipes(names, Path(dataset).expanduser())
    return found


def _recipes(names: Iterable[str], folder: Path | None = None) -> list[Path]:
    folder = folder or recipe_folder()
    paths = (folder / f"{name}.yml" for name in names)
    return [path for path in paths if path.is_file()]


def _expect(names: list[str], purpose: str) -> None:
    if not _recipes(names):
        raise ConfigError(
            f"found no recipe for {purpose}: expected {names[0]}.yml in "
            f"{recipe_folder()}; install faster-rcnn again"
        )


def recipe_file(given: Path) -> Path:
    """The file that ``--cfg`` names: a path, or the name of a packaged recipe.

    Raises:
        ConfigError: there is neither.
    """
    if given.is_file():
        return given
    packaged = {file.stem: file for file in recipe_folder().glob("*.yml")}
    if str(given) in packaged:
        return packaged[str(given)]
    near = difflib.get_close_matches(given.stem, packaged, n=1)
    raise ConfigError(
        f"recipe {given} cannot be read: expected a YAML file, or the name of a recipe "
        f"in {recipe_folder()}{f', such as {near[0]}' if near else ''}"
    )


def net_settings(net: str) -> list[str]:
    """A NET as settings, flattened, as after ``--set``."""
    name, kind = split_net(net)
    return ["net.name", name, "net.features", kind]
