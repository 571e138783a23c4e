"""The four steps from the command line, in this process."""

import pytest
from command_lines import load_tool, run_command
from faster_rcnn.cli.arguments.alternating import build_parser
from faster_rcnn.cli.command_line import get_dataset, make_job
from faster_rcnn.config.loading import load_config
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.evaluation.proposal_recall import load_proposals
from faster_rcnn.weights.checkpoint import load_checkpoint
from test_scripts import TINY, cells

pytestmark = pytest.mark.slow

__all__ = ["cells"]  # a fixture


@pytest.fixture
def alternate(cells, tmp_path, monkeypatch, capsys, run_tool):
    """Takes the steps; gives the exit status, stdout, and the calls of tools."""

    def run(*words):
        tool, calls = load_tool("train_alternating"), []

        def call_here(turns, name, own):
            given = turns.arguments
            options = ["--device", given.device, "--output", given.output]
            line = [given.dataset, given.net, *options, *own]
            calls.append([name, *own])
            status, out, err = run_tool(f"{name}_net", *line)
            print(out)
            if status:
                pytest.fail(err)

        monkeypatch.setattr(tool.Turns, "_call", call_here)
        settings = [*TINY.split(), "data.workers", "0", "test.report", "false"]
        line = [cells, "mobile_v2", "--weights", "none", "--device", "cpu"]
        line += ["--output", tmp_path, *words, "--set", *settings]
        assert run_command("train_alternating", *line) == 0
        return capsys.readouterr().out, calls

    return run


def test_four_steps(alternate, cells, tmp_path):
    out, calls = alternate("--tag", "turns", "--step-iters", "1", "2", "1", "3")
    assert "mAP" in out
    tools = [name for name, *_ in calls]
    train, test = "train", "test"
    assert tools == [train, test, train, train, test, train, test]
    parent = tmp_path / "mobile_v2" / "cells_train"
    newest = {
        path.name: load_checkpoint(RunFolder(path).newest_checkpoint())
        for path in parent.iterdir()
    }
    assert {name: state["iteration"] for name, state in newest.items()} == {
        "turns_1_rpn": 1,
        "turns_2_fast_rcnn": 2,
        "turns_3_rpn": 1,
        "turns_4_fast_rcnn": 3,
        "turns": 7,
    }
    assert newest["turns"]["config"]["net"]["modules"] == "both"
    # The proposals are of the images that are trained on.
    config = load_config([], ["data.train_set", str(cells)])
    train_set = get_dataset(str(cells), config, "train")
    (file,) = (parent / "turns_3_rpn" / "test").glob("*/*/proposals.npz")
    assert file.parent.parent.name == train_set.name == "cells_train"
    assert len(load_proposals(file, train_set)) == 2
    assert str(file.resolve()) in calls[5]
    result = parent / "turns" / "test" / "cells_test" / "iter_0000007" / "results.json"
    assert result.is_file()

    # Once more: what is done is kept, and the proposals are not made again.
    saved = {path: path.read_bytes() for path in parent.glob("*/checkpoints/*.pth")}
    again = ("--tag", "turns", "--step-iters", "1", "2", "1", "3", "--no-test")
    _, calls = alternate(*again)
    assert [name for name, *_ in calls] == [train] * 4
    for path, content in saved.items():
        if path.parent.parent.name != "turns":  # which is joined again
            assert path.read_bytes() == content


def test_names_of_runs(cells, tmp_path):
    words = [cells, "mobile_v2", "--weights", "none", "--output", tmp_path]
    arguments = build_parser().parse_args(list(map(str, words)))
    turns = load_tool("train_alternating").Turns(arguments, make_job(arguments))
    names = [turns.run_of(name).path.name for name in ("1_rpn", "")]
    assert names == [f"alternating_net.weights=none{end}" for end in ("_1_rpn", "")]


def test_one_stage_has_no_turns(cells, tmp_path, run_tool):
    words = [cells, "retina_res18_fpn", "--device", "cpu", "--output", tmp_path]
    status, _, err = run_tool("train_alternating", *words)
    assert status == 2 and "retina_res18_fpn has one stage" in err
    assert not list(tmp_path.glob("retina*"))


def test_a_proposal_network_is_tested_by_its_recall(cells, tmp_path, run_tool):
    words = [cells, "mobile_v2", "--device", "cpu", "--output", tmp_path]
    settings = [*TINY.split(), "net.modules", "rpn"]
    train = [*words, "--weights", "none", "--iters", "1", "--set", *settings]
    status, out, err = run_tool("train_net", *train)
    assert status == 0 and "AR@" in out and "mAP" not in out, err
    status, out, err = run_tool("test_net", *words)
    assert status == 0 and "AR@" in out and "cells_test: images 2" in out, err
    status, out, err = run_tool("test_net", *words, "--split", "train")
    assert status == 0 and "cells_train: images 2" in out, err
    status, out, err = run_tool("test_net", *words, "--eval", "detection")
    assert status == 2 and "computes no detections" in err


def test_fast_rcnn_needs_files(cells, tmp_path, run_tool):
    words = [cells, "mobile_v2", "--device", "cpu", "--output", tmp_path]
    words += ["--weights", "none", "--iters", "1", "--set", *TINY.split()]
    words += ["net.modules", "fast_rcnn"]
    status, _, err = run_tool("train_net", *words)
    assert status == 2 and "needs data.test_proposals" in err
    status, _, err = run_tool("train_net", *words, "--no-test")
    assert status == 2 and "needs data.proposals" in err
    assert list(tmp_path.iterdir()) == []
