"""Updates that are not finite, left out."""

import pytest
import torch
from equality import assert_equal
from faster_rcnn.config.settings import Config
from faster_rcnn.engine.non_finite import FaultyUpdates, NonFiniteLossError
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.nets.layers import Norm
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.utils.monitoring import async_scalars
from faster_rcnn.weights.checkpoint import Counts, load_checkpoint
from many_processes import in_processes
from spoilt_losses import spoil_gradient, spoilt
from tiny_runs import checkpoint_names, read_metrics, tiny_config, train_tiny

pytestmark = pytest.mark.slow

SKIP = ("train.nonfinite", "skip", "train.iterations", 6, "train.snapshot_every", 2)


@pytest.mark.parametrize(
    "change", [lambda loss: loss + float("inf"), spoil_gradient], ids=["loss", "grad"]
)
def test_update_is_left_out(tmp_path, dataset, change, caplog):
    words = (*SKIP, "net.norm", "batch", "train.snapshot_every", 1)
    config = tiny_config(*words, "train.snapshots_kept", 9)
    with spoilt([3], change):
        train_tiny(dataset, config, tmp_path)
    before, after = (load_checkpoint(RunFolder(tmp_path).checkpoint(i)) for i in (2, 3))
    # Weights, momenta and running means of norms are those of before.
    assert_equal(after["model"], before["model"])
    assert_equal(after["optimizer"]["state"], before["optimizer"]["state"])
    assert after["counts"]["skipped_updates"] == 1
    lines = read_metrics(tmp_path)
    assert [line["iteration"] for line in lines] == [1, 2, 4, 5, 6]
    assert [line["skipped_updates"] for line in lines] == [0, 0, 1, 1, 1]
    (message,) = (m for m in caplog.messages if m.startswith("update left out"))
    assert "at iteration 3, images image" in message
    assert message.endswith("(1 left out so far, 1 in a row)")
    last = load_checkpoint(RunFolder(tmp_path).checkpoint(6))
    assert all(torch.isfinite(v.float()).all() for v in last["model"].values())


def test_too_many_in_a_row_stop_the_run(tmp_path, dataset):
    config = tiny_config(*SKIP, "train.nonfinite_limit", 2)
    with spoilt([2, 3, 5, 6, 7]):
        train_tiny(dataset, config, tmp_path / "fine")  # never more than two
    message = r"iteration 5, .* 2 updates in a row"
    with spoilt([3, 4, 5]), pytest.raises(NonFiniteLossError, match=message):
        train_tiny(dataset, config, tmp_path / "stopped")
    # The two that were left out count on in the run that goes on.
    counts = load_checkpoint(RunFolder(tmp_path / "stopped").checkpoint(4))["counts"]
    assert (counts["skipped_updates"], counts["skipped_in_a_row"]) == (2, 2)
    with spoilt([1]), pytest.raises(NonFiniteLossError, match="iteration 5"):
        train_tiny(dataset, config, tmp_path / "stopped")


def test_a_stopped_run_continues_with_skipping(tmp_path, dataset):
    words = SKIP[2:]
    message = r"train\.nonfinite skip"
    with spoilt([4]), pytest.raises(NonFiniteLossError, match=message):
        train_tiny(dataset, tiny_config(*words), tmp_path)
    with spoilt([2]):  # the same update of the resumed run
        train_tiny(dataset, tiny_config(*SKIP), tmp_path)
    assert [line["iteration"] for line in read_metrics(tmp_path)] == [1, 2, 3, 5, 6]


def spoil_one(dataset, config, folder):
    """Only the second process's loss goes wrong; all leave the update out."""
    with spoilt([] if collectives.is_main() else [3]):
        model = train_tiny(dataset, config, folder)
    return [p.detach().numpy() for p in model.parameters()]


@pytest.mark.processes
def test_all_processes_decide_alike(tmp_path, dataset):
    words = ("train.batch_size", 1, "train.images_per_update", 2)
    config = tiny_config(*SKIP, *words, "net.norm", "frozen")
    one, other = in_processes(spoil_one, dataset, config, tmp_path)
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert [line["iteration"] for line in read_metrics(tmp_path)] == [1, 2, 4, 5, 6]


def test_running_means_are_set_back():
    norm = Norm(3, "batch")
    settings = Config.model_validate({"train": {"nonfinite": "skip"}}).train
    counts = Counts()
    faulty = FaultyUpdates(norm.train(), settings, counts)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(torch.full((1, 3, 2, 2), float("nan")))
    faulty.leave_out(NonFiniteLossError("x is nan. Do y."))
    assert_equal(dict(norm.state_dict()), before)
    norm(torch.rand(1, 3, 2, 2))
    faulty.passed()
    assert counts == Counts(skipped_updates=1)
    after = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(torch.full((1, 3, 2, 2), float("nan")))
    faulty.leave_out(NonFiniteLossError("x is nan. Do y."))
    assert_equal(dict(norm.state_dict()), after)
    assert counts == Counts(skipped_updates=2, skipped_in_a_row=1)


def test_an_update_that_is_looked_at_later_is_refused_before_a_save(
    tmp_path, dataset, monkeypatch
):
    # As on a GPU: numbers reach the host when the next ones are sent, or a save asks.
    def send(self, values, use):
        self.flush()
        numbers = {name: float(value.detach()) for name, value in values.items()}

        def hand_on():
            self.pending = None
            use(numbers)

        self.pending = hand_on

    monkeypatch.setattr(async_scalars.AsyncScalars, "send", send)
    config = tiny_config("train.iterations", 6, "train.snapshot_every", 2)
    message = "rpn_box is nan at iteration 4, "
    with spoilt([4]), pytest.raises(NonFiniteLossError, match=message):
        train_tiny(dataset, config, tmp_path)
    assert checkpoint_names(tmp_path) == ["iter_0000002.pth"]
    assert [line["iteration"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    message = "rpn_box is nan at iteration 3, "
    with spoilt([1]), pytest.raises(NonFiniteLossError, match=message):
        train_tiny(dataset, config, tmp_path)
