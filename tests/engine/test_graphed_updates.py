"""Updates that are recorded and replayed are those that are made one by one."""

import itertools
from functools import partial

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine import graphed_updates, train_step
from faster_rcnn.engine.batch_gradient import BatchGradient
from faster_rcnn.engine.graphed_updates import CudaRecorder, GraphedUpdates
from faster_rcnn.engine.schedule import share_passes
from faster_rcnn.engine.solver import build_optimizer, set_learning_rate
from faster_rcnn.engine.training_batches import stream_batches
from graph_emulation import EmulatedRecorder
from tiny_runs import CPU, read_metrics, tiny_config, tiny_detector, train_tiny

pytestmark = pytest.mark.slow

NETS = {
    "c4": (),
    "batch norms": ("net.norm", "batch"),
    "fpn": (
        *("net.features", "fpn", "net.fpn_channels", 16, "head.fc_channels", 32),
        *("anchors.scales", "[4]"),
    ),
}


def make(config, generator):
    model = tiny_detector(config).train()
    passes = share_passes(config.train, rank=0, processes=1)
    gradient = BatchGradient(
        model, config, passes, generator, device=CPU, dtype=torch.float32
    )
    return model, gradient, build_optimizer(model, config.train)


def batches_of_two_sizes(dataset, config, count):
    """The batches of a run; every third has another size."""
    stream = stream_batches(dataset, config)
    batches = list(itertools.islice(stream, count))
    for number, batch in enumerate(batches):
        pixels = batch.images.pixels[:, :, :64, :64]
        if number % 3 == 2:
            pixels = torch.nn.functional.pad(pixels, (0, 16))
        images = batch.images._replace(pixels=pixels, padded=number % 3 == 2)
        batches[number] = batch._replace(images=images)
    return batches


def state(model, optimizer):
    """The state that an update changes."""
    tensors = [*model.parameters(), *model.buffers()]
    for of_one in optimizer.state.values():
        tensors += [x for x in of_one.values() if isinstance(x, torch.Tensor)]
    return tensors


def train_graphed(config, batches, *, graphed):
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(5)
    model, gradient, optimizer = make(config, generator)

    recorder = EmulatedRecorder(generator, lambda: state(model, optimizer))
    graphs = GraphedUpdates(gradient, optimizer, recorder)
    told = []
    for number, batch in enumerate(batches):
        set_learning_rate(optimizer, (number + 1) / 128)  # exact in float32
        if graphed:
            update = graphs(number, [batch])
            assert update.stepped
        else:
            update = gradient(number, [batch])
            optimizer.step()
        numbers = {**update.output.losses, **update.output.counts, "norm": update.norm}
        told.append({name: value.item() for name, value in numbers.items()})
    return model, told, recorder, optimizer


@pytest.mark.parametrize(
    ("net", "optimizer"), [("c4", "sgd"), ("batch norms", "adamw"), ("fpn", "adamw")]
)
def test_replayed_updates_are_those_made_one_by_one(dataset, net, optimizer):
    words = ("train.optimizer", optimizer, "train.clip_norm", 1)
    config = tiny_config(*NETS[net], *words)
    batches = batches_of_two_sizes(dataset, config, 9)
    plain, want, _, _ = train_graphed(config, batches, graphed=False)
    model, told, recorder, steps = train_graphed(config, batches, graphed=True)
    assert recorder.set_aside == 4 and len(recorder.recorded) == 2
    assert recorder.replayed == 5
    assert told == want
    assert_equal(model.state_dict(), plain.state_dict())
    assert all(isinstance(group["lr"], float) for group in steps.param_groups)
    assert not any(group.get("capturable") for group in steps.param_groups)


def test_a_run_of_replayed_updates(dataset, tmp_path, monkeypatch):
    words = ("train.iterations", 6, "data.short_sides", [64], "data.size_multiple", 96)
    plain = train_tiny(dataset, tiny_config(*words), tmp_path / "plain")
    recorders = []

    def emulated(gradient, optimizer, generator):
        changed = partial(state, gradient.model, optimizer)
        recorders.append(EmulatedRecorder(generator, changed))
        return GraphedUpdates(gradient, optimizer, recorders[0])

    monkeypatch.setattr(train_step, "CudaRecorder", lambda device, generator: generator)
    monkeypatch.setattr(train_step, "GraphedUpdates", emulated)
    config = tiny_config(*words, "train.cuda_graphs", True)
    model = train_tiny(dataset, config, tmp_path / "graphed")
    assert recorders[0].replayed == 4
    assert_equal(model.state_dict(), plain.state_dict())
    told, want = (read_metrics(tmp_path / name) for name in ("graphed", "plain"))
    assert told == want


def test_only_so_many_sizes_are_recorded(dataset, monkeypatch, caplog):
    monkeypatch.setattr(graphed_updates, "_MOST", 1)
    config = tiny_config()
    batches = batches_of_two_sizes(dataset, config, 9)
    _, want, _, _ = train_graphed(config, batches, graphed=False)
    _, told, recorder, _ = train_graphed(config, batches, graphed=True)
    assert len(recorder.recorded) == 1 and recorder.replayed == 4
    assert told == want
    assert "data.size_multiple" in caplog.text


def test_an_update_reports_on_its_own_batch(dataset):
    config = tiny_config()
    generator = torch.Generator()
    _, gradient, optimizer = make(config, generator)
    recorder = EmulatedRecorder(generator, list)
    graphs = GraphedUpdates(gradient, optimizer, recorder)
    (batch,) = batches_of_two_sizes(dataset, config, 1)
    for number in range(4):
        problems = tuple(map(str, range(number)))
        update = graphs(
            number, [batch._replace(problems=problems)], stopping=number == 3
        )
        assert update.problems == number and update.stopping == (number == 3)
    assert recorder.replayed == 2


def test_several_passes_are_refused():
    config = tiny_config("train.accumulate", 2)
    generator = torch.Generator()
    _, gradient, optimizer = make(config, generator)
    with pytest.raises(ValueError, match="found 2 passes"):
        GraphedUpdates(gradient, optimizer, EmulatedRecorder(generator, list))


def test_a_cpu_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"train\.cuda_graphs needs an NVIDIA GPU"):
        train_tiny(dataset, tiny_config("train.cuda_graphs", True), tmp_path)


@pytest.mark.parametrize(
    "words", [("train.compile", "reduce-overhead"), ("train.nonfinite", "skip")]
)
def test_settings_that_do_not_go_together(words):
    with pytest.raises(ValueError, match=f"cuda_graphs.*{words[0]} {words[1]}"):
        tiny_config("train.cuda_graphs", True, *words)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu(dataset):
    """Zero waits of the host, and the losses of updates made one by one."""
    device = torch.device("cuda")
    config = tiny_config("train.clip_norm", 1)
    batches = batches_of_two_sizes(dataset, config, 9)
    told = []
    for graphed in (False, True):
        generator = torch.Generator(device).manual_seed(5)
        model = tiny_detector(config).to(device).train()
        passes = share_passes(config.train, rank=0, processes=1)
        gradient = BatchGradient(
            model, config, passes, generator, device=device, dtype=torch.float32
        )
        optimizer = build_optimizer(model, config.train)
        graphs = GraphedUpdates(gradient, optimizer, CudaRecorder(device, generator))
        losses = []
        for number, batch in enumerate(batches):
            here = batch.to(device)
            set_learning_rate(optimizer, 0.01)
            replays = graphed and number in (4, 6, 7)  # recorded at 3
            torch.cuda.set_sync_debug_mode("error" if replays else "default")
            try:
                update = (graphs if graphed else gradient)(number, [here])
            finally:
                torch.cuda.set_sync_debug_mode("default")
            if not update.stepped:
                optimizer.step()
            losses.append(torch.stack(list(update.output.losses.values())).clone())
        told.append(torch.stack(losses).cpu())
    torch.testing.assert_close(told[1], told[0], rtol=2e-3, atol=2e-3)
