import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_lines import REPOSITORY
from dataset_folders import write_voc

SCRIPTS = REPOSITORY / "experiments" / "scripts"
NAMES = sorted(path.name for path in SCRIPTS.glob("*.sh"))
COMMANDS = [
    *("check.sh", "demo.sh", "docs.sh", "tensorboard.sh", "test.sh", "train.sh"),
    "train_alternating.sh",
]
TINY = """
anchors.scales [1,2] rpn.channels 16 rpn.batch_size 16 rpn.train_pre_nms 50
rpn.train_post_nms 20 rpn.test_pre_nms 50 rpn.test_post_nms 10 pooling.size 4
head.rois_per_image 8 data.short_sides [64] data.test_short_side 64 data.long_side 96
data.test_long_side 96 data.workers 0 train.batch_size 1 train.log_every 1
train.picture_every 0 train.histogram_every 0 train.warmup_iterations 0 test.pictures 1
"""


# The scripts and the environment that they find or make.

STAND_IN = """#!/bin/sh
# Stands for Python: answers probes, makes environments, shows all other calls.
case "$1 $2" in
  "-c import sys; "*) exit 0 ;;
  "-c "*) [ -e "$(dirname "$0")/installed" ]; exit ;;
  "-m venv")
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    ;;
  "-m pip") [ "$5" = --upgrade ] || touch "$(dirname "$0")/installed" ;;
esac
echo "$0" >>"$CALLS"
for word; do echo "  $word" >>"$CALLS"; done
exit "${EXIT:-0}"
"""


class Checkout:
    """A copy of the scripts, with a stand-in for the only Python there is."""

    def __init__(self, folder):
        self.root = folder / "check out"
        self.bin = folder / "bin"
        self.python = self.bin / "python3"
        self.venv = self.root / ".venv" / "bin" / "python"
        self.log = folder / "calls.txt"
        shutil.copytree(SCRIPTS, self.root / "experiments" / "scripts")
        self.bin.mkdir()
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)
        for name in ("bash", "sh", "dirname", "mkdir", "cp", "touch", "sed"):
            (self.bin / name).symlink_to(shutil.which(name))

    def run(self, script, *words, **environment):
        """Run a script; returns its result and the calls, program and words."""
        self.log.unlink(missing_ok=True)
        result = subprocess.run(
            [self.root / "experiments" / "scripts" / script, *words],
            env={"PATH": str(self.bin), "CALLS": str(self.log), **environment},
            cwd=self.root.parent,
            capture_output=True,
            text=True,
        )
        calls = []
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            if line.startswith("  "):
                calls[-1].append(line[2:])
            else:
                calls.append([line])
        return result, calls


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_scripts_are_where_they_are_looked_for():
    assert sorted([*COMMANDS, "common.sh"]) == NAMES
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
    for name in COMMANDS:
        assert os.access(SCRIPTS / name, os.X_OK), f"{name} is not executable"


@pytest.mark.parametrize(
    "path", [*(SCRIPTS / n for n in NAMES), REPOSITORY / ".ci/run"]
)
def test_syntax(path):
    result = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("script", "call"),
    [
        ("train.sh", ["{root}/tools/train_net.py"]),
        ("train_alternating.sh", ["{root}/tools/train_alternating.py"]),
        ("test.sh", ["{root}/tools/test_net.py"]),
        ("tensorboard.sh", ["-m", "tensorboard.main", "--logdir", "{root}/output"]),
        ("demo.sh", ["{root}/tools/demo.py"]),
    ],
)
def test_active_environment_is_used_and_words_passed_on(checkout, script, call):
    (checkout.bin / "installed").touch()
    words = ["my data/set", "res18", "--set", "a.b", "[1, 2]", "*", ""]
    result, calls = checkout.run(script, *words)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    want = [word.format(root=checkout.root) for word in call]
    assert calls == [[str(checkout.python), *want, *words]]
    assert not checkout.venv.exists()


def test_exit_status_is_passed_on(checkout):
    (checkout.bin / "installed").touch()
    assert checkout.run("train.sh", EXIT="130")[0].returncode == 130


def test_missing_environment_is_made_once(checkout):
    result, calls = checkout.run("train.sh", "shapes", "res18")
    assert result.returncode == 0 and result.stdout == ""
    assert "Creating the environment .venv" in result.stderr
    python, venv, root = map(str, (checkout.python, checkout.venv, checkout.root))
    pip = [venv, "-m", "pip", "install", "--quiet"]
    tool = [venv, f"{root}/tools/train_net.py"]
    assert calls == [
        [python, "-m", "venv", f"{root}/.venv"],
        [*pip, "--upgrade", "pip"],
        [*pip, "--editable", root],
        [*tool, "shapes", "res18"],
    ]
    result, calls = checkout.run("train.sh", "voc", "res50")
    assert result.stderr == "" and calls == [[*tool, "voc", "res50"]]


def test_checks_install_what_they_need(checkout):
    result, calls = checkout.run("check.sh", "tests/nets", "-k", "a or b")
    assert result.returncode == 0
    assert calls[2][-2:] == ["--editable", f"{checkout.root}[dev]"]
    assert [" ".join(call[1:]) for call in calls[3:]] == [
        "-m ruff format --check .",
        "-m ruff check .",
        "-m mypy",
        "-m pytest --numprocesses auto tests/nets -k a or b",
    ]
    _, calls = checkout.run("check.sh", "--fast", "tests/nets")
    assert [" ".join(call[1:]) for call in calls[-2:]] == [
        "-m mypy",
        "-m pytest --numprocesses auto "
        "-m not slow and not processes and not browser tests/nets",
    ]


def test_failed_installation_stops(checkout):
    result, calls = checkout.run("train.sh", "shapes", "res18", EXIT="1")
    assert result.returncode == 1
    assert len(calls) == 1  # nothing is built on the broken environment


def test_no_python(checkout):
    checkout.python.unlink()
    result, calls = checkout.run("train.sh", "shapes", "res18")
    assert result.returncode == 1 and calls == []
    assert result.stderr == (
        "error: no Python 3.10 to 3.13 found; install one and run this again\n"
    )


def quick_python(folder):
    """A Python that passes each probe at once, and else is this one."""
    path = folder / "python3"
    path.write_text(f'#!/bin/sh\n[ "$1" = -c ] || exec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


# Help and errors.


@pytest.mark.parametrize(
    ("tool", "options"),
    [
        (
            "train_net",
            "--set --tag --device --output --cfg --weights --iters --seed --gpus",
        ),
        ("test_net", "--set --tag --device --output --checkpoint --gpus"),
    ],
)
def test_help_of_the_tools(run_tool, tool, options):
    status, out, err = run_tool(tool, "--help")
    assert (status, err) == (0, "")
    command = tool.removesuffix("_net")
    assert out.startswith(f"usage: frcnn {command} ")
    assert re.search(r"DATASET\]? \[NET\]", out)
    assert "voc0712" in out and "mobile_v2" in out
    assert all(option in out for option in options.split())


@pytest.mark.parametrize("script", ["check.sh", "tensorboard.sh"])
def test_help_of_the_other_scripts(tmp_path, script):
    result = subprocess.run(
        [SCRIPTS / script, "--help"],
        env=quick_python(tmp_path),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    assert "usage: " in result.stdout


def test_bad_argument_of_tensorboard(tmp_path):
    result = subprocess.run(
        [SCRIPTS / "tensorboard.sh", "--prot=7000"],
        env=quick_python(tmp_path),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith(": --prot=7000")


BAD_ARGUMENTS = [
    ("", "the following arguments are required: DATASET"),
    ("voc res1O1", "found 'res1O1'; did you mean res101"),
    ("voc res18 --nothing 1", "unrecognized arguments: --nothing 1"),
    ("voc res18 --device tpu", "argument --device: invalid choice: 'tpu'"),
    *(
        (
            f"voc res18 --tag={tag}",
            "argument --tag/--name: expected a folder's name, found",
        )
        for tag in ("a/b", "..", "a\x1b[m", "")
    ),
    ("voc res18 --set", "--set/--cfg-options: expected at least one argument"),
    ("vco res18", "unknown data set 'vco'"),
    ("no/such/folder res18", "'no/such/folder': no such folder"),
    (
        "voc res18 --gpus 0",
        "--gpus: expected a whole number of 1 or more, found '0'",
    ),
]
BAD_TRAINING = [
    ("voc res18 --iters x", "argument --iters: invalid int value: 'x'"),
    ("voc res18 --iters 0", "train.iterations: "),
    ("voc res18 --seed -1", "train.seed: "),
    ("voc res18 --cfg gone.yml", "recipe gone.yml cannot be read"),
    ("voc res18 --set train.lr", "'train.lr' has no value"),
    ("voc res18 --set train.lr --iters 2", "'train.lr' has no value"),
    ("voc res18 --set lr 1", "expected SECTION.KEY"),
    ("voc res18 --set train.ls 1", "unknown key train.ls; did you mean train.lr?"),
    ("voc res18 --set trian.lr 1", "unknown section 'trian'; did you mean train?"),
    ("voc res18 --set train.lr fast", "train.lr: "),
    ("voc res18 --set net.fixed_blocks two", "net.fixed_blocks: "),
    ("voc res18 --device mps", "device 'mps' is not available here"),
]


@pytest.mark.parametrize(
    ("tool", "line", "problem"),
    [
        *(("train_net", *case) for case in [*BAD_ARGUMENTS, *BAD_TRAINING]),
        *(("test_net", *case) for case in BAD_ARGUMENTS[1:]),
        ("test_net", "", "give DATASET, or --checkpoint FILE"),
        ("test_net", "voc res18 --iters 5", "unrecognized arguments: --iters 5"),
        ("test_net", "voc res18 --out r.pkl", "expected a file .json (COCO results)"),
        ("test_net", "voc res18 --show", "--show needs "),
        ("test_net", "--checkpoint best", "give DATASET, or --checkpoint FILE"),
        ("test_net", "voc res18", "no checkpoint in "),
        ("test_net", "voc res18 --tag x", "no checkpoint in "),
        ("test_net", "voc res18 --checkpoint gone.pth", "gone.pth does not exist"),
    ],
)
def test_bad_arguments(run_tool, monkeypatch, tmp_path, tool, line, problem):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr("faster_rcnn.demo.window._has_windows", lambda: False)
    words = [*line.split(), "--output", tmp_path] if line else []
    status, out, err = run_tool(tool, *words)
    assert (status, out) == (2, "")
    *before, last = err.splitlines()
    assert problem in last
    # argparse shows the usage before.
    assert not before or before[0].startswith("usage: ")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_bad_argument_of_a_script(tmp_path):
    """The whole way: shell, probe, tool; in a checkout that is reached by a link."""
    (tmp_path / "link").symlink_to(REPOSITORY)
    bad = ["shapes", "res18", "--set", "train.ls", "1"]
    result = subprocess.run(
        [tmp_path / "link" / "experiments" / "scripts" / "train.sh", *bad],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout) == (2, "")
    first, line = result.stderr.splitlines()
    assert first.endswith(" train.sh: starting")
    assert re.fullmatch(r"\S+ ERROR: --set: unknown key train\.ls; did .*", line), line


# Runs.


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A folder in VOC layout: two images to train on and two to test on."""
    folder = tmp_path_factory.mktemp("data") / "cells"
    return write_voc(folder, "cell", train="01", test="23")


@pytest.mark.slow
def test_train_and_test(cells, tmp_path, run_tool):
    train = [cells, "mobile_v2", "--weights", "none", "--iters", "2", "--device", "cpu"]
    train += ["--tag", "mine", "--output", tmp_path, "--set", *TINY.split()]
    status, out, err = run_tool("train_net", *train)
    assert status == 0, err
    assert re.search(r"mAP.*\d", out) and "cell" in out
    run = tmp_path / "mobile_v2" / "cells_train" / "mine"
    found = sorted(path.name for path in run.iterdir() if "tfevents" not in path.name)
    want = ".lock checkpoints config.yml metrics.jsonl test train.log"
    assert found == want.split()
    newest = run / "checkpoints" / "iter_0000002.pth"
    assert newest.is_file()
    results = run / "test" / "cells_test" / newest.stem / "results.json"
    assert results.is_file()

    # Another setting is another run.
    status, _, err = run_tool("train_net", *train, "rpn.sigma", "2")
    assert status == 2 and "rpn.sigma: 3.0 -> 2.0" in err and "--tag" in err

    test = [cells, "mobile_v2", "--device", "cpu", "--output", tmp_path]
    first = results.read_text()
    results.unlink()
    status, out, err = run_tool("test_net", *test)
    assert status == 0, err
    assert str(newest) in err and "mAP" in out
    assert without_time(results.read_text()) == without_time(first)

    # A checkpoint from elsewhere leaves that place alone.
    elsewhere = tmp_path / "downloads" / "best.pth"
    elsewhere.parent.mkdir()
    shutil.copy(newest, elsewhere)
    named = [*test, "--checkpoint", elsewhere]
    status, _, err = run_tool("test_net", *named)
    assert status == 0, err
    assert os.listdir(elsewhere.parent) == ["best.pth"]
    assert (run.parent / "best" / "test" / "cells_test" / "best").is_dir()

    for words, problem in (
        (["--set", "rpn.channels", "8"], "best.pth does not fit the network"),
        (["--set", "test.nms", "8"], "unknown key test.nms;"),
    ):
        status, _, err = run_tool("test_net", *named, *words)
        assert status == 2 and problem in err, err
    named[1] = "res18"
    status, _, err = run_tool("test_net", *named)
    assert status == 2 and "with the net mobile_v2, but NET is res18" in err


def without_time(results):
    return re.sub(r'"seconds": [\d.]+', "", results)
