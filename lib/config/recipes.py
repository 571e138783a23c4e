"""The recipes of a net on a data set: files of the package ``faster_rcnn.recipes``.

In a checkout, these files are in ``experiments/cfgs``.
"""

import difflib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from .dataset_words import WORDS
from .loading import ConfigError, refuse_code
from .net_settings import TIMM
from .settings import split_net

PACKAGE = "faster_rcnn.recipes"


def recipe_folder() -> Path:
    """Return the folder of the packaged recipes.

    Raises:
        ConfigError: the recipes are not installed.
    """
    try:
        return Path(str(files(PACKAGE)))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"found no recipes: the package {PACKAGE} is not installed; install "
            "faster-rcnn again (in a checkout: pip install --editable .)"
        ) from error


def find_recipes(dataset: str, net: str) -> list[Path]:
    """Find the recipes of a net on a data set, the more specific ones later.

    For ``res50_fpn`` on ``coco`` they are ``fpn.yml``, ``res50.yml``,
    ``res50_fpn.yml``, ``coco.yml``, then ``coco_fpn.yml``, ``coco_res50.yml`` and
    ``coco_res50_fpn.yml``, as far as these files exist. For ``mask_res50_fpn`` those
    of ``mask`` and ``mask_fpn``, such as ``coco_mask.yml``, follow the ones of
    ``res50_fpn``; for ``cascade_mask_res50_fpn`` those of ``cascade``, ``mask`` and
    ``cascade_mask``. A user's own data set of any name uses ``own_data.yml``,
    ``own_data_fpn.yml`` and so on, and then the recipes in its folder: ``recipe.yml``,
    ``recipe_fpn.yml`` and so on. In these names every net of timm is ``timm``.

    Args:
        dataset: DATASET as given on the command line: a word, a path, or several
            joined; "" if the data is unknown.
        net: NET, including the kind of its features.

    Raises:
        ConfigError: there is no recipe for the kind of net, for a published data set,
            or for own data; defaults alone are not enough to train with. Or a recipe in
            the data's folder names code of its own.
    """
    parsed = split_net(net)
    if parsed.name.startswith(TIMM):
        parsed = parsed._replace(name="timm")
    _, name, kind = parsed
    parts = [name] if kind == "c4" else [kind, name, f"{name}_{kind}"]
    if kind != "c4":
        _expect([kind], f"nets with _{kind}")
    prefixes = parsed.prefixes
    for prefix in prefixes:
        if "_" not in prefix:
            _expect([prefix], f"nets with {prefix}_")
        parts += [prefix, f"{prefix}_{kind}"]
    if prefixes:
        parts.append(str(parsed))
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
        with_data = _recipes(names, Path(dataset).expanduser())
        for path in with_data:
            refuse_code(path)
        found += with_data
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
    """Return the file that ``--cfg`` names: a path, or the name of a packaged recipe.

    Raises:
        ConfigError: neither exists.
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
    """Turn a NET into settings, flattened as after ``--set``."""
    detector, name, kind = split_net(net)
    return ["net.name", name, "net.features", kind, "net.detector", detector]
