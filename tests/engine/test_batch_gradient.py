"""One gradient, whoever computes it: one pass, several passes, several processes."""

import itertools
from typing import ClassVar

import numpy as np
import pytest
import torch
from backbone_checks import shorten
from faster_rcnn.config.section import HeadSection
from faster_rcnn.config.settings import Config
from faster_rcnn.engine.batch_gradient import BatchGradient
from faster_rcnn.engine.non_finite import FaultyUpdates, NonFiniteLossError
from faster_rcnn.engine.schedule import share_passes
from faster_rcnn.engine.training_batches import stream_batches
from faster_rcnn.layer_utils.losses import Loss
from faster_rcnn.layer_utils.outputs import TrainOutput
from faster_rcnn.model.heads.head import Head
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.weights.checkpoint import Counts
from many_processes import in_processes
from spoilt_losses import spoilt
from tiny_runs import (
    CPU,
    RETINANET,
    draw_dataset,
    make_dataset,
    make_record,
    randomise,
    tiny_config,
    tiny_detector,
)

pytestmark = pytest.mark.slow

# All anchors and all proposals are taken, so that nothing is left to chance; their
# number differs from image to image.
ALL = [
    *("rpn.batch_size", 100000, "rpn.fg_fraction", 1),
    *("head.rois_per_image", 60, "head.fg_fraction", 1, "head.replacement", "false"),
    *("net.norm", "frozen", "data.flip", "false"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four images of one bucket but different sizes, one of them without objects."""
    folder = tmp_path_factory.mktemp("images")
    sizes = [(80, 64), (84, 64), (80, 66), (76, 64)]
    records = []
    for number, (width, height) in enumerate(sizes):
        (record,) = draw_dataset(
            folder / str(number), 1, seed=number, width=width, height=height
        ).records
        path = folder / f"{number}.png"
        record.path.rename(path)
        boxes = record.boxes if number != 2 else []
        classes = record.classes if number != 2 else None
        records.append(make_record(path, width, height, boxes, classes))
    return make_dataset(records)


def gradient(dataset, config: Config, *, iteration: int = 0):
    """Losses, counts and this process's gradients of an update."""
    torch.manual_seed(0)
    model = tiny_detector(config)
    if config.net.name == "res18":
        shorten(model.backbone)  # which is traced sooner
    randomise(model, seed=2)
    model.train()
    place = collectives.process_rank()
    passes = share_passes(config.train, rank=place.rank, processes=place.processes)
    stream = stream_batches(dataset, config, passes=passes)
    batches = list(itertools.islice(stream, len(passes.mine)))
    step = BatchGradient(
        model,
        config,
        passes,
        torch.Generator().manual_seed(5),
        device=CPU,
        dtype=torch.float32,
    )
    update = step(iteration, batches)
    faulty = FaultyUpdates(model, config.train, Counts())
    assert faulty.find(update.output.losses, iteration, batches) is None
    numbers = {**update.output.losses, **update.output.counts}
    return (
        {name: number.item() for name, number in numbers.items()},
        {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None},
    )


def assert_alike(found, want, tolerance=1e-5):
    """Gradients agree to the tolerance, relative to the largest of each tensor."""
    (numbers, gradients), (want_numbers, want_gradients) = found, want
    assert numbers == pytest.approx(want_numbers, rel=1e-5)
    assert gradients.keys() == want_gradients.keys()
    scale = max(np.abs(g).max() for g in want_gradients.values())
    assert scale > 0.01
    for name, expected in want_gradients.items():
        difference = np.abs(gradients[name] - expected).max()
        assert difference <= tolerance * max(np.abs(expected).max(), 1e-3 * scale), name


@pytest.fixture(scope="module")
def whole(dataset):
    return gradient(dataset, tiny_config(*ALL, "train.batch_size", 4))


def test_compiled_pass_has_the_same_gradient(dataset, monkeypatch):
    modes = []
    plain = torch.compile

    def compile_quickly(model, *, mode):
        modes.append(mode)
        return plain(model, backend="eager")

    monkeypatch.setattr(torch, "compile", compile_quickly)
    torch._dynamo.reset()
    res18 = (*ALL, "net.name", "res18")
    whole = gradient(dataset, tiny_config(*res18, "train.batch_size", 4))
    words = ("train.batch_size", 2, "train.accumulate", 2, "train.compile", "default")
    assert_alike(gradient(dataset, tiny_config(*res18, *words)), whole)
    assert modes == ["default"]


def test_every_parameter_has_a_gradient(dataset, whole):
    model = tiny_detector(tiny_config(*ALL))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert whole[1].keys() == trained


@pytest.mark.parametrize(("size", "passes"), [(2, 2), (1, 4), (3, 2)])
def test_accumulated_gradient_is_that_of_the_large_batch(dataset, whole, size, passes):
    words = ("train.batch_size", size, "train.images_per_update", 4)
    assert_alike(gradient(dataset, tiny_config(*ALL, *words)), whole)


class PullHead(Head):
    """A further head whose only loss is over the foreground RoIs."""

    def __init__(self, settings, config, context):
        super().__init__()
        self.pull = torch.nn.Parameter(torch.ones(()))
        self.strides = context.strides

    def losses(self, features, samples, ground_truth, image_sizes):
        foreground = samples.valid & (samples.classes > 0)
        sides = (samples.rois[..., 2:] - samples.rois[..., :2]).prod(dim=2)
        total = (self.pull**2 * sides).masked_fill(~foreground, 0.0).sum()
        return TrainOutput({"pull": Loss(total, foreground.sum())}, {}, {})


class PullSection(HeadSection):
    head: ClassVar = PullHead


class ConfigWithPull(Config):
    pull: PullSection = PullSection(enabled=True)


@pytest.mark.parametrize("normaliser", ["running", "batch", "image"])
def test_retinanets_losses_add_up(dataset, normaliser):
    words = (*RETINANET, "net.norm", "frozen", "data.flip", "false")
    words += ("dense.normaliser", normaliser)
    whole = gradient(dataset, tiny_config(*words, "train.batch_size", 4))
    parts = ("train.batch_size", 2, "train.images_per_update", 4)
    assert_alike(gradient(dataset, tiny_config(*words, *parts)), whole)


@pytest.mark.processes
def test_two_processes_have_retinanets_gradient_of_the_large_batch(dataset):
    words = (*RETINANET, "net.norm", "frozen", "data.flip", "false")
    whole = gradient(dataset, tiny_config(*words, "train.batch_size", 4))
    for found in in_processes(
        gradient, dataset, tiny_config(*words, "train.batch_size", 2)
    ):
        assert_alike(found, whole)


@pytest.mark.parametrize("kind", ["pull", "cascade"])
def test_losses_of_any_name_and_count_add_up(dataset, kind):
    """A loss over foreground alone, whose number no setting tells, and three stages."""
    words = ("head.cascade", "[0.6, 0.7]") if kind == "cascade" else ()
    found = []
    for size in (4, 2):
        config = tiny_config(
            *(*ALL, *words),
            *("train.batch_size", size, "train.images_per_update", 4),
        )
        if kind == "pull":
            config = ConfigWithPull.model_validate(config.model_dump())
        found.append(gradient(dataset, config))
    name = "pull" if kind == "pull" else "head3_cls"
    assert found[0][0][name] > 0
    assert_alike(found[1], found[0])


SAMPLED = ("net.norm", "frozen", "train.batch_size", 1)  # not all, but drawn ones
NORMS = (*ALL, "net.norm", "batch", "data.size_multiple", 32)
POSITIVE = (*ALL, "rpn.positive_weight", 0.5)
SHARED = {
    "passes": (*ALL, "train.batch_size", 2),  # one each
    "accumulate": (*ALL, "train.batch_size", 1, "train.accumulate", 2),
    "positive weight": (*POSITIVE, "train.batch_size", 2),
    "sampled": (*SAMPLED, "train.accumulate", 2),
    "synchronised norms": (*NORMS, "train.batch_size", 2, "train.sync_bn", True),
    "norms": (*NORMS, "train.batch_size", 2, "train.sync_bn", False),
}


def gradients(dataset):
    return {
        name: gradient(dataset, tiny_config(*words)) for name, words in SHARED.items()
    }


@pytest.fixture(scope="module")
def shared(dataset):
    """The gradients that each of two processes has, started once for all."""
    return in_processes(gradients, dataset)


@pytest.mark.processes
@pytest.mark.parametrize("name", ["passes", "accumulate", "positive weight"])
def test_two_processes_have_the_gradient_of_the_large_batch(
    dataset, whole, shared, name
):
    if name == "positive weight":
        whole = gradient(dataset, tiny_config(*POSITIVE, "train.batch_size", 4))
    for found in shared:
        assert_alike(found[name], whole)


@pytest.mark.processes
def test_samples_do_not_depend_on_the_process(dataset, shared):
    """Each pass has random numbers of its own."""
    config = tiny_config(*SAMPLED, "train.accumulate", 4)
    want = gradient(dataset, config)
    for found in shared:
        assert_alike(found["sampled"], want)
    other = gradient(dataset, config, iteration=1)
    assert other[0]["rpn_cls"] != want[0]["rpn_cls"]  # another draw


@pytest.mark.processes
@pytest.mark.parametrize("sync", [True, False])
def test_batch_norm_over_all_processes(dataset, shared, sync):
    _, want = gradient(dataset, tiny_config(*NORMS, "train.batch_size", 4))
    for process in shared:
        _, found = process["synchronised norms" if sync else "norms"]
        # On maps of a few cells rounding grows from layer to layer.
        difference = sum(np.square(found[name] - g).sum() for name, g in want.items())
        share = (difference / sum(np.square(g).sum() for g in want.values())) ** 0.5
        assert share < 0.1 if sync else share > 0.5


def error_here(dataset, config):
    """The error that a process gets when the other one's loss is no number."""
    calls = () if collectives.is_main() else range(1, 9)
    with spoilt(calls), pytest.raises(NonFiniteLossError) as caught:
        gradient(dataset, config)
    return str(caught.value)


@pytest.mark.processes
def test_loss_that_is_not_finite_anywhere_stops_all(dataset):
    words = ("net.norm", "frozen", "train.batch_size", 2)
    first, other = in_processes(error_here, dataset, tiny_config(*words))
    assert first.startswith("rpn_box is nan at iteration 1, images ")
    assert other.startswith("rpn_box is nan at iteration 1, images ")
    of_all = first.partition("images ")[2].partition(". ")[0].split(", ")
    own = other.partition("images ")[2].partition(". ")[0].split(", ")
    assert len(of_all) == 4 and of_all[2:] == own
