"""Options of train.sh besides training: a dry run, and a profile."""

import pytest
from command_lines import load_tool
from tiny_runs import tiny_settings

TINY = [*tiny_settings(), "train.precision", "float32"]


@pytest.fixture
def train_sh(drawn_tool):
    return lambda *words: drawn_tool("train_net", *words, "--set", *TINY)


@pytest.mark.slow
def test_dry_run_claims_no_folder(tmp_path, train_sh):
    status, told, _ = train_sh("--dry-run")
    assert status == 0
    assert "trainable parameters get a finite gradient" in told
    files = [p.name for p in (tmp_path / "output").rglob("*") if p.is_file()]
    assert files == ["first_batch.jpg"]
    # Another configuration may take the folder.
    status, _, errors = train_sh("--seed", "9", "--no-test")
    assert status == 0, errors
    assert list((tmp_path / "output").rglob("iter_0000004.pth"))


def test_picture_goes_where_it_is_wanted(tmp_path, train_sh, monkeypatch):
    drawn = []

    def dry_run(*_, picture, **__):
        drawn.append(picture)

    monkeypatch.setattr(load_tool("train_net"), "dry_run", dry_run)
    status, _, errors = train_sh("--dry-run", "--picture", tmp_path / "first.png")
    assert status == 0, errors
    assert drawn == [tmp_path / "first.png"]
    assert not (tmp_path / "output").exists()


def test_profile_lies_in_the_run(tmp_path, train_sh):
    words = ["--profile", "--profile-updates", "1", "--no-test"]
    status, _, errors = train_sh(*words)
    assert status == 0, errors
    assert "where the time goes:\n  stage " in errors
    (folder,) = (tmp_path / "output").rglob("profile")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["stages.txt", "trace.json.gz"]


def test_missing_tracker_is_reported_before_anything_is_written(
    tmp_path, monkeypatch, train_sh
):
    tool = load_tool("train_net")
    monkeypatch.setattr(
        tool.check_trackers.__globals__["importlib"].util,
        "find_spec",
        lambda name, *_: None,
    )
    monkeypatch.setitem(globals(), "TINY", [*TINY, "train.trackers", "[wandb]"])
    status, _, errors = train_sh()
    assert status == 2
    assert "train.trackers names wandb" in errors
    assert not (tmp_path / "output").exists()
