"""The recipes of a net on a data set: files in ``experiments/cfgs``."""

from collections.abc import Iterable
from pathlib import Path

from ..utils.repository import REPOSITORY
from .settings import split_net

RECIPES = REPOSITORY / "experiments" / "cfgs"


def find_recipes(dataset: str, net: str) -> list[Path]:
    """Recipes of a net on a data set, the more special ones later.

    Of ``res50_fpn`` on ``coco``: ``fpn.yml``, ``res50.yml``, ``res50_fpn.yml``,
    ``coco.yml``, then ``coco_fpn.yml``, ``coco_res50.yml`` and ``coco_res50_fpn.yml``,
    those that are there. A data set without a recipe of its own gets ``own_data.yml``.
    """
    name, kind = split_net(net)
    parts = [name] if kind == "c4" else [kind, name, net]
    if not any(_recipes([dataset, *(f"{dataset}_{part}" for part in parts)])):
        dataset = "own_data"
    return _recipes([*parts, dataset, *(f"{dataset}_{part}" for part in parts)])


def _recipes(names: Iterable[str]) -> list[Path]:
    paths = (RECIPES / f"{name}.yml" for name in names)
    return [path for path in paths if path.is_file()]


def net_settings(net: str) -> list[str]:
    """A NET as settings, flattened, as after ``--set``."""
    name, kind = split_net(net)
    return ["net.name", name, "net.features", kind]
