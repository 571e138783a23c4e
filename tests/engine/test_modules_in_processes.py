"""Each module alone, trained and tested in two processes as in one."""

from functools import partial

import pytest
import torch
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.inference.proposal_evaluation import measure_proposals as run_proposals
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.weights.checkpoint import load_checkpoint
from many_processes import in_processes
from tiny_runs import run_test, tiny_config, train_tiny

pytestmark = pytest.mark.processes

FPN = ("net.features", "fpn", "net.fpn_channels", 16, "head.fc_channels", 32)
TRAINING = (
    *("net.norm", "frozen", "train.batch_size", 1, "train.images_per_update", 2),
    *("train.iterations", 2, "test.batch_size", 2),
)


propose = partial(run_test, test=run_proposals)


@pytest.fixture(scope="module")
def proposals(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("proposals")
    propose(dataset, tiny_config("net.modules", "rpn"), folder)
    return folder / "proposals.npz"


def same_files(one, two):
    names = {path.name for path in one.iterdir() if path.is_file()}
    assert names == {path.name for path in two.iterdir() if path.is_file()}
    for name in names - {"results.json"}:  # which tells the time
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    return names


@pytest.mark.parametrize("net", [(), FPN], ids=["c4", "fpn"])
@pytest.mark.parametrize("processes", [2, 3])
def test_proposals_are_those_of_one_process(dataset, tmp_path, net, processes):
    config = tiny_config(*net, "net.modules", "rpn")
    propose(dataset, config, tmp_path / "one")
    arguments = (dataset, config, tmp_path / "two")
    in_processes(propose, *arguments, processes=processes)
    names = same_files(tmp_path / "one", tmp_path / "two")
    assert names == {"proposals.npz", "proposal_results.json"}


@pytest.mark.parametrize("net", [(), FPN], ids=["c4", "fpn"])
def test_detections_are_those_of_one_process(dataset, proposals, tmp_path, net):
    given = ("net.modules", "fast_rcnn", "data.test_proposals", proposals)
    config = tiny_config(*net, *given, "test.flip", "true")
    run_test(dataset, config, tmp_path / "one")
    in_processes(run_test, dataset, config, tmp_path / "two")
    names = same_files(tmp_path / "one", tmp_path / "two")
    assert "detections.json" in names


def train_here(dataset, config, folder):
    train_tiny(dataset, config, folder, seed=collectives.process_rank().rank)


@pytest.mark.parametrize("modules", ["rpn", "fast_rcnn"])
def test_two_processes_train_as_one(dataset, proposals, tmp_path, modules):
    """Every parameter takes part, else they would not agree on the gradient."""
    words = (*FPN, *TRAINING, "net.modules", modules, "data.proposals", proposals)
    config = tiny_config(*words)
    train_tiny(dataset, config, tmp_path / "one")
    in_processes(train_here, dataset, config, tmp_path / "two")
    one, two = (
        load_checkpoint(RunFolder(tmp_path / name).newest_checkpoint())["model"]
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, two[key], rtol=1e-3, atol=2e-5)
