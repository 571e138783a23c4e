"""What the command-line tools share: arguments, recipes, run folders, errors."""

import argparse
import contextlib
import hashlib
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..datasets.catalog import WORDS, Split, dataset_name, load_dataset, resolve
from ..datasets.download import ensure_downloaded
from ..datasets.records import Dataset
from ..evaluation.coco_evaluators import Evaluator
from ..evaluation.command_line import Measure
from ..utils import distributed
from ..utils.heartbeat import Failure
from ..utils.logs import setup_logging
from ..utils.summaries import Summaries
from ..utils.trackers import Trackers
from .checkpoint import detector_weights
from .config import NET_NAMES, Config, load_config
from .device import pick_device, pick_dtype
from .dry_run import DryRunError
from .faster_rcnn import build_detector
from .given_proposals import proposal_file
from .out_of_memory import TESTING_ADVICE, NotEnoughMemoryError, is_out_of_memory
from .proposal_testing import test_proposals, with_many_proposals
from .run_folder import RunFolder
from .settings import split_net
from .testing import test_detector
from .train import Interrupted, NonFiniteLossError
from .weights.class_names import class_places

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = REPOSITORY / "experiments" / "cfgs"

_DATASET_HELP = (
    "shapes, voc (2007), voc0712, coco, the path of a folder in VOC, COCO or YOLO "
    "layout, or several joined by +"
)


NET_HELP = (
    f"{', '.join(NET_NAMES)}; with _fpn behind for a pyramid, _dc5 for a dilated "
    "last stage"
)


class Job(NamedTuple):
    """What a command line asks for.

    Attributes:
        dataset: its word or path, as given.
        config: resolved.
        recipes: the files it was made of.
        tag: name of the run.
        device: where to run.
        dtype: what to compute in.
        given: keys that the command line sets itself, ``section.key``.
    """

    dataset: str
    config: Config
    recipes: list[Path]
    tag: str
    device: torch.device
    dtype: torch.dtype
    given: frozenset[str] = frozenset()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing have in common."""
    parser.add_argument("dataset", metavar="DATASET", help=_DATASET_HELP)
    parser.add_argument("net", metavar="NET", type=net_argument, help=NET_HELP)
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        dest="overrides",
        metavar=("SECTION.KEY", "VALUE"),
        help="settings on top of the recipes, e.g. --set train.lr 0.01",
    )
    parser.add_argument("--tag", type=_tag, help="name of the run")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps")
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=REPOSITORY / "output",
        help="folder of all runs; default: output/ of the repository",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that decide how a run trains."""
    parser.add_argument(
        "--cfg",
        type=Path,
        metavar="FILE",
        help="recipe on top of those of the net and the data set (experiments/cfgs)",
    )
    parser.add_argument(
        "--weights",
        metavar="imagenet|none|NAME|FILE",
        help="first weights: torchvision's, random ones, those of a name in "
        "docs/zoo.md, or a file's",
    )
    parser.add_argument("--iters", type=int, help="updates to train for")
    parser.add_argument("--seed", type=int, help="of all random numbers")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bits from the same seed; tells what cannot be had "
        "(docs/faults.md)",
    )


def net_argument(text: str) -> str:
    """Check a NET of the command line."""
    try:
        name, kind = split_net(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name if kind == "c4" else f"{name}_{kind}"


def net_settings(net: str) -> list[str]:
    """A NET as settings, flattened, as after ``--set``."""
    name, kind = split_net(net)
    return ["net.name", name, "net.features", kind]


def _tag(name: str) -> str:
    """Check a run's name, which becomes that of a folder."""
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise argparse.ArgumentTypeError(f"expected a folder's name, found {name!r}")
    return name


def make_job(arguments: argparse.Namespace) -> Job:
    """Resolve the arguments of a training run.

    Raises:
        ValueError: unknown data set, net, key or value, or no such device.
    """
    name, train_set, test_set = resolve(arguments.dataset)
    overrides: list[str] = []
    for key, value in (
        ("net.weights", arguments.weights),
        ("train.iterations", arguments.iters),
        ("train.seed", arguments.seed),
        ("train.deterministic", "true" if arguments.deterministic else None),
    ):
        if value is not None:
            overrides += [key, str(value)]
    # Last, so that a key without a value does not take another option's for its own.
    overrides += arguments.overrides
    recipes = find_recipes(name, arguments.net)
    if arguments.cfg is not None:
        recipes.append(arguments.cfg)
    given = [*net_settings(arguments.net), "data.root", str(REPOSITORY / "data")]
    # As a path, so that the slash which a shell adds to a folder makes no difference.
    given += ["data.train_set", str(Path(train_set))]
    given += ["data.test_set", str(Path(test_set))]
    config = load_config(recipes, [*given, *overrides])
    device = pick_device(arguments.device)
    return Job(
        dataset=arguments.dataset,
        config=config,
        recipes=recipes,
        tag=arguments.tag or automatic_tag(arguments.cfg, overrides),
        device=device,
        dtype=pick_dtype(config.train.precision, device),
        given=frozenset(key.lower() for key in overrides[::2]),
    )


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


def automatic_tag(cfg: Path | None, overrides: Sequence[str]) -> str:
    """Name a run by what differs from the recipe: ``default`` if nothing does."""
    parts = [cfg.stem] if cfg else []
    parts += [
        f"{key.lower()}={Path(value).name}"
        for key, value in zip(overrides[::2], overrides[1::2], strict=False)
    ]
    tag = re.sub(r"[^\w.=+-]+", "-", "_".join(parts)) or "default"
    if len(tag) > 80:
        tag = f"{tag[:70]}-{hashlib.sha256(tag.encode()).hexdigest()[:8]}"
    return tag


def get_dataset(word: str, config: Config, split: Split) -> Dataset:
    """The training or test set, downloaded or drawn if need be.

    Args:
        word: the data set as given on the command line.
        config: names the sets and the data folder.
        split: which of the two.

    Raises:
        ValueError: it is not to be had, or its files are at fault.
    """
    with distributed.main_first():
        return _get_dataset(word, config, split)


def _get_dataset(word: str, config: Config, split: Split) -> Dataset:
    fetch_dataset(word, config, split)
    data = config.data
    name = data.train_set if split == "train" else data.test_set
    return load_dataset(name, root=data.root, split=split, classes=data.classes)


def fetch_dataset(word: str, config: Config, split: Split) -> None:
    """Download what is missing of a word's own training or test set.

    A set that --set names in its place is not downloaded, nor is the word's own then.

    Args:
        word, config, split: as of `get_dataset`.

    Raises:
        ValueError: it is not to be had.
    """
    data = config.data
    name = data.train_set if split == "train" else data.test_set
    for part in word.split("+"):
        own = WORDS[part][split == "test"].split("+") if part in WORDS else []
        if set(own) & set(name.split("+")):
            ensure_downloaded(part, data.root)


def run_parent(output: Path, net: str, train_set: str) -> Path:
    """Folder of all runs of a net on a training set (DATASET's name or path)."""
    name = dataset_name(train_set)
    if train_set != name and Path(train_set).expanduser().is_dir():
        name += "_train"
    return output / net / name


def test_checkpoint(
    run: RunFolder,
    checkpoint: Path,
    state: dict[str, Any],
    dataset: Dataset,
    config: Config,
    *,
    device: torch.device,
    measure: Measure | None = None,
    evaluator: Evaluator = "hotcoco",
    comp: str | None = None,
) -> None:
    """Test a checkpoint, print the table, and add the figures to TensorBoard.

    Args:
        run: gets the test folder.
        checkpoint: the file.
        state: its content.
        dataset: the test set.
        config: to test under.
        device: where to run.
        measure: detections, or the proposals alone, by COCO's evaluator or in NumPy;
            None for what the checkpoint's network makes.
        evaluator: who computes COCO's numbers.
        comp: competition of VOC's result files; None for no files.

    Raises:
        ValueError: the checkpoint is of other classes, or its network does not make
            what is to be measured, or lacks the proposals that it needs.
    """
    measure = settle_measure(config, measure)
    classes = tuple(state["classes"])
    places = class_places(classes, dataset.classes)
    if places is None:
        raise ValueError(
            f"{checkpoint} knows the classes {', '.join(classes[1:])}, but "
            f"{dataset.name} has {', '.join(dataset.classes[1:])}; test it on a set of "
            "classes that it knows"
        )
    if measure != "detection":
        config = with_many_proposals(config)
    model = build_detector(config, len(classes))
    try:
        model.load_state_dict(detector_weights(state, averaged=config.train.ema > 0))
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint} does not fit the network that its configuration and --set "
            f"describe; leave out what changes the network: {error}"
        ) from error
    folder = run.test_folder(dataset.name, checkpoint)
    dtype = pick_dtype(config.train.precision, device)
    if measure != "detection":
        result = test_proposals(
            model.to(device),
            dataset,
            config,
            folder=folder,
            device=device,
            dtype=dtype,
            checkpoint=checkpoint.name,
            evaluator="fast" if measure == "proposal_fast" else evaluator,
        )
        if result is not None:
            print(result.table())
            logger.info("proposals and their recall are in %s", folder)
        return
    evaluation = test_detector(
        model.to(device),
        dataset,
        config,
        folder=folder,
        device=device,
        dtype=dtype,
        checkpoint=checkpoint.name,
        evaluator=evaluator,
        comp=comp,
        places=None if classes == dataset.classes else places,
    )
    if evaluation is None:  # the main process has it
        return
    with Summaries(run.tensorboard) as summaries:
        summaries.results(evaluation.scalars(), state["iteration"])
    with Trackers(config.train.trackers, run.path) as trackers:
        results = {
            f"test/{name}": value for name, value in evaluation.scalars().items()
        }
        trackers.scalars(results, state["iteration"])
    print(evaluation.table())
    logger.info("detections, results and pictures are in %s", folder)


def settle_measure(config: Config, measure: Measure | None) -> Measure:
    """What a test measures: by default, whatever the network makes.

    Raises:
        ValueError: the network does not make what is asked for, or the proposals that
            it needs are not named.
    """
    modules = config.net.modules
    if measure is None:
        measure = "proposal" if modules == "rpn" else "detection"
    if modules == "rpn" and measure == "detection":
        raise ValueError(
            "a region proposal network alone (net.modules rpn) makes no detections; "
            "leave out --eval, or give proposal"
        )
    if modules == "fast_rcnn":
        if measure != "detection":
            raise ValueError(
                "Fast R-CNN alone (net.modules fast_rcnn) makes no proposals; measure "
                "the file that it is given by tools/reval.py"
            )
        proposal_file(config, "test")
    return measure


test_checkpoint.__test__ = False  # type: ignore[attr-defined]  # not a test case


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Show users the message of an expected error, not its stack.

    Exit status: 2 for wrong input, 1 for a failed run, 130 for an interrupted one. If
    there are several processes, all end with the first failure of any.
    """
    setup_logging()
    try:
        yield
        distributed.finish()
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error)
        if distributed.together():
            stack = "".join(traceback.format_exception(error))
            distributed.end(failure or Failure(1, stack.rstrip()), error)
        if failure is None:
            raise
        logger.log(failure.level, "%s", failure.text)
        sys.exit(failure.status)


def _failure(error: BaseException) -> Failure | None:
    """What to tell users of an error; None for one that nobody expects."""
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return Failure(130, str(error) or "interrupted", logging.WARNING)
    if isinstance(error, ValueError):
        return Failure(2, str(error))
    if isinstance(error, NonFiniteLossError | NotEnoughMemoryError | DryRunError):
        return Failure(1, str(error))
    if is_out_of_memory(error):
        return Failure(1, f"out of memory: {error}\n{TESTING_ADVICE}")
    if isinstance(error, OSError):
        return Failure(1, str(error))
    return None
