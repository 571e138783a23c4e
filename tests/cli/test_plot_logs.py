import json

import pytest


@pytest.fixture
def runs(tmp_path):
    folders = [tmp_path / "output" / name for name in ("one", "two")]
    for folder, count in zip(folders, (100, 30), strict=True):
        folder.mkdir(parents=True)
        lines = [
            json.dumps({"iteration": 20 * i, "loss": 1 / i, "lr": 0.1, "rpn_fg": 5})
            for i in range(1, count + 1)
        ]
        (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folders


def test_picture_and_page(tmp_path, runs, run_tool):
    status, _, told = run_tool("plot_logs", *runs, "--output", tmp_path / "a" / "both")
    assert status == 0, told
    assert (tmp_path / "a" / "both.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a" / "both.html").read_text()
    # A fiftieth of the longest run.
    assert "means over 40 iterations" in page
    assert "loss against iterations" in page and "rpn_fg" not in page


def test_smoothing_and_choice(tmp_path, runs, run_tool):
    words = ["--smooth", 0, "--curves", "rpn_fg", "--output", tmp_path / "both"]
    status, _, told = run_tool("plot_logs", *runs, *words)
    assert status == 0, told
    page = (tmp_path / "both.html").read_text()
    assert "All lines show the logged values" in page
    assert "rpn_fg against iterations" in page and "loss against" not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "none at nothing"),
        (["--curves", "mAP"], "no run has a curve 'mAP'; there are loss, lr, rpn_fg"),
        (["--smooth", "-1"], "expected 0 or more iterations, found -1"),
    ],
)
def test_mistakes_are_reported(tmp_path, runs, run_tool, words, message):
    status, _, told = (
        run_tool("plot_logs", runs[0], "--output", tmp_path / "both", *words)
        if words != ["nothing"]
        else run_tool("plot_logs", *words)
    )
    assert status == 2 and message in told
    assert not (tmp_path / "both.png").exists()
