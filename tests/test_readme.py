import re

import pytest
from command_lines import (
    REPOSITORY,
    SCRIPTS,
    bash_blocks,
    check_command,
    script_commands,
)

DOCUMENTS = [
    REPOSITORY / "README.md",
    *(path for path in sorted(REPOSITORY.glob("*.md")) if path.name != "README.md"),
    *sorted(REPOSITORY.glob("docs/**/*.md")),
    REPOSITORY / "data" / "README.md",
    REPOSITORY / "output" / "README.md",
]

# Of a library that TensorBoard brings along.
pytestmark = pytest.mark.filterwarnings("ignore:html5lib")


def name(path):
    return str(path.relative_to(REPOSITORY))


def commands_of(text):
    return [words for block in bash_blocks(text) for words in script_commands(block)]


def test_blocks_and_commands_are_found():
    text = """
Run `./experiments/scripts/no.sh`, which is no block.
```bash
./experiments/scripts/train.sh shapes res18   # a comment
cd somewhere && ./experiments/scripts/test.sh "my data/set" res18 \\
    --tag 'a b'
OMP_NUM_THREADS=1 A=2 ./experiments/scripts/check.sh -k "x or y" | tee log; echo ok
pip install ./experiments/scripts/none.sh
(./experiments/scripts/tensorboard.sh --port 7000 &) > log
```
```python
./experiments/scripts/other.sh
```
```bash
./experiments/scripts/train.sh --help
```
"""
    assert commands_of(text) == [
        [f"{SCRIPTS}train.sh", "shapes", "res18"],
        [f"{SCRIPTS}test.sh", "my data/set", "res18", "--tag", "a b"],
        [f"{SCRIPTS}check.sh", "-k", "x or y"],
        [f"{SCRIPTS}tensorboard.sh", "--port", "7000"],
        [f"{SCRIPTS}train.sh", "--help"],
    ]


@pytest.mark.parametrize(
    "line",
    [
        "train.sh shapes res18",
        "train.sh some/folder mobile_v2 --weights a/b.pth --iters 5 --seed 2 --no-test",
        "train.sh voc res50 --set train.lr 1e-3 data.short_sides '[480, 600]' --tag x",
        "train.sh voc vgg16 --cfg experiments/cfgs/mobile_v2.yml --device cpu",
        "test.sh voc res101 --checkpoint a/b.pth --set test.nms_threshold 0.45",
        "train.sh --help",
        "tensorboard.sh",
        "tensorboard.sh --port 7000 --bind_all",
        "check.sh",
        "check.sh tests/test_readme.py -k blocks",
    ],
)
def test_good_commands_pass(line):
    check_command(script_commands(SCRIPTS + line)[0])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("trian.sh shapes res18", "trian.sh does not exist"),
        ("common.sh", "not executable"),
        ("train.sh shaeps res18", "unknown data set shaeps"),
        ("train.sh shapes res1O1", "refused"),
        ("train.sh", "refused"),
        ("train.sh shapes res18 --learning-rate 0.1", "refused"),
        ("train.sh shapes res18 --iters many", "refused"),
        ("train.sh shapes res18 --iters 0", "train.iterations"),
        ("train.sh shapes res18 --set train.ls 0.1", "did you mean train.lr"),
        ("train.sh shapes res18 --set train.lr fast", "train.lr"),
        ("train.sh shapes res18 --cfg experiments/cfgs/gone.yml", "cannot be read"),
        ("test.sh shapes res18 --iters 5", "refused"),
        ("tensorboard.sh --prot 7000", "refused"),
        ("check.sh tests/gone.py", "tests/gone.py does not exist"),
    ],
)
def test_bad_commands_do_not_pass(line, problem):
    with pytest.raises((AssertionError, ValueError), match=problem):
        check_command(script_commands(SCRIPTS + line)[0])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_command_parses(path):
    for words in commands_of(path.read_text(encoding="utf-8")):
        check_command(words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_file_named_exists(path):
    text = path.read_text(encoding="utf-8")
    for recipe in re.findall(r"experiments/cfgs/[\w.-]+\.yml", text):
        assert (REPOSITORY / recipe).is_file(), f"{name(path)} names {recipe}"
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target = link.partition("#")[0]
        if target and ":" not in target:
            assert (path.parent / target).exists(), f"{name(path)} links to {link}"


@pytest.mark.parametrize("script", ["train", "test", "demo", "tensorboard", "check"])
def test_readme_shows_each_script(script):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = {words[0] for words in commands_of(text)}
    assert f"{SCRIPTS}{script}.sh" in shown
