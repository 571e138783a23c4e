import errno
import multiprocessing
import os

import pytest
from faster_rcnn.config.loading import ConfigError, load_config
from faster_rcnn.config.settings import Config
from faster_rcnn.engine import run_folder
from faster_rcnn.engine.run_folder import RunFolder, newest_run
from patience import PATIENCE


def touch(run, *iterations, time=None):
    for iteration in iterations:
        path = run.checkpoint(iteration)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(iteration))
        if time is not None:
            os.utime(path, (time, time))
    return run


def iterations(run):
    return [int(path.read_text()) for path in run.checkpoints()]


def test_paths(tmp_path):
    run = RunFolder(tmp_path)
    assert run.config_file == tmp_path / "config.yml"
    assert run.log_file == tmp_path / "train.log"
    assert run.metrics_file == tmp_path / "metrics.jsonl"
    assert run.tensorboard == tmp_path
    checkpoint = run.checkpoint(70)
    assert checkpoint == tmp_path / "checkpoints" / "iter_0000070.pth"
    folder = run.folder_of_test("voc_2007_test", checkpoint)
    assert folder == tmp_path / "test" / "voc_2007_test" / "iter_0000070"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_began_with_a_folder_of_events_goes_on_there(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    assert RunFolder(tmp_path).tensorboard == tmp_path / "tensorboard"


def test_checkpoints_in_order_of_their_number(tmp_path):
    # The last has more digits than names are padded to, and would sort first by name.
    run = touch(RunFolder(tmp_path), 500, 70, 9, 12_345_678, 9_999_999)
    assert iterations(run) == [9, 70, 500, 9_999_999, 12_345_678]
    assert run.newest_checkpoint() == run.checkpoint(12_345_678)


def test_other_files_are_no_checkpoints(tmp_path):
    run = touch(RunFolder(tmp_path), 5)
    for name in ("best.pth", "iter_9.txt", "iter_.pth", "xiter_0000009.pth", ".a.tmp"):
        (tmp_path / "checkpoints" / name).touch()
    assert iterations(run) == [5]
    run.keep_newest(1)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 6


@pytest.mark.parametrize(
    ("count", "left"), [(1, [30]), (2, [20, 30]), (3, [10, 20, 30]), (9, [10, 20, 30])]
)
def test_keep_newest(tmp_path, count, left):
    # The oldest by number was written last.
    run = touch(RunFolder(tmp_path), 20, 30, 10)
    run.keep_newest(count)
    assert iterations(run) == left


def test_no_checkpoint(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert run.checkpoints() == []
    run.keep_newest(3)
    with pytest.raises(ValueError, match=r"no checkpoint in .*run.checkpoints; train"):
        run.newest_checkpoint()


def test_claim_records_the_configuration(tmp_path):
    run = RunFolder(tmp_path / "res18" / "voc" / "default")
    config = load_config([], ["train.lr", "0.5"])
    run.claim(config)
    assert load_config([run.config_file]) == config
    assert sorted(os.listdir(run.path)) == [".lock", "config.yml"]
    run.claim(config)


def test_claim_refuses_another_configuration(tmp_path):
    run = RunFolder(tmp_path)
    run.claim(Config())
    recorded = run.config_file.read_text()
    other = load_config([], ["train.lr", "0.5", "net.name", "vgg16"])
    with pytest.raises(ConfigError) as caught:
        run.claim(other)
    message = str(caught.value)
    assert str(tmp_path) in message and "--tag" in message
    lines = [line.strip() for line in message.splitlines()]
    assert lines[1:3] == ["net.name: res101 -> vgg16", "train.lr: 0.001 -> 0.5"]
    assert len(lines) == 4
    assert run.config_file.read_text() == recorded


def test_claim_of_a_run_that_can_be_extended(tmp_path):
    """Settings that no state depends on may change, and are noted."""
    run = touch(RunFolder(tmp_path / "mine"), 60)
    run.claim(Config())
    longer = load_config([], ["train.iterations", "90", "train.schedule", "cosine"])
    with pytest.raises(ConfigError, match="--tag mine --extend continues that run"):
        run.claim(longer)
    run.claim(longer, extend=True)
    rate = load_config([run.config_file], ["train.lr", "0.5"])
    run.claim(rate, extend=True)
    run.claim(rate)  # resumed
    assert run.recorded_config() == rate
    first, second, *_ = run.config_file.read_text().splitlines()
    note = "--extend after iteration 60: train.iterations 70000 -> 90, train.schedule"
    assert f"{note} step -> cosine" in first
    assert second.endswith("--extend after iteration 60: train.lr 0.001 -> 0.5")
    other = load_config([run.config_file], ["train.batch_size", "2", "train.lr", "1"])
    with pytest.raises(ConfigError, match=r"one; train\.batch_size cannot change in a"):
        run.claim(other, extend=True)
    assert run.recorded_config() == rate


def test_claim_lets_data_move(tmp_path):
    run = RunFolder(tmp_path)
    run.claim(Config())
    run.claim(load_config([], ["data.root", "/elsewhere", "data.workers", "9"]))


def test_claim_of_a_run_from_before_a_key_was_added(tmp_path):
    run = RunFolder(tmp_path)
    run.config_file.write_text("train: {lr: 0.5}\n")
    run.claim(load_config([], ["train.lr", "0.5"]))


def test_claim_of_a_run_from_before_batches_were_recorded(tmp_path):
    run = RunFolder(tmp_path)
    assert run.recorded_config() is None
    run.config_file.write_text("train: {batch_size: 2}\n")
    assert run.recorded_config() == load_config([run.config_file])
    words = ["train.batch_size", "2", "train.images_per_update"]
    run.claim(load_config([], [*words, "2", "train.reference_batch", "2"]))
    run.claim(Config.model_validate({"train": {"batch_size": 2}}))
    run = RunFolder(tmp_path / "new")
    run.claim(load_config([], [*words, "2"]))
    with pytest.raises(ConfigError, match=r"train\.images_per_update: 2 -> 4"):
        run.claim(load_config([], [*words, "4"]))


def test_claim_removes_what_a_killed_process_left(tmp_path):
    run = touch(RunFolder(tmp_path), 5)
    run.claim(Config())
    half = run.checkpoint(6).with_name(f".iter_0000006.pth.away-1-{'0' * 32}.tmp")
    half.touch()
    run.claim(Config())
    assert half.exists()  # perhaps another machine is still writing it
    os.utime(half, (1000, 1000))
    with pytest.raises(ConfigError):
        run.claim(load_config([], ["train.lr", "0.5"]))
    assert half.exists()
    run.claim(Config())
    assert not half.exists() and iterations(run) == [5]


def test_claim_of_a_damaged_record(tmp_path):
    run = RunFolder(tmp_path)
    run.config_file.write_text("train: {lr: [\n")
    with pytest.raises(ConfigError, match=r"config\.yml is not valid YAML"):
        run.claim(Config())


def test_newest_run_is_the_one_that_saved_last(tmp_path):
    touch(RunFolder(tmp_path / "early"), 900, time=1000)
    late = touch(RunFolder(tmp_path / "late"), 5, time=3000)
    touch(RunFolder(tmp_path / "middle"), 70000, time=2000)
    RunFolder(tmp_path / "empty").claim(Config())
    (tmp_path / "file").touch()
    assert newest_run([tmp_path]).path == late.path
    touch(RunFolder(tmp_path / "early"), 901, time=4000)
    assert newest_run([tmp_path]).path.name == "early"
    other = touch(RunFolder(tmp_path / "net" / "middle"), 1, time=3000)
    folders = [tmp_path, tmp_path / "net"]
    assert newest_run(folders).path.name == "early"
    assert newest_run(folders, "middle").path == other.path


def test_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint in .*train first"):
        newest_run([tmp_path])
    with pytest.raises(ValueError, match=r"no checkpoint in .*gone"):
        newest_run([tmp_path / "gone"])


def claim_and_wait(folder, pipe):
    run = RunFolder(folder)
    run.claim(Config())
    pipe.send(os.getpid())
    pipe.recv()  # never comes


@pytest.mark.processes
@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_a_run_at_work_keeps_its_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=claim_and_wait, args=(tmp_path, theirs))
    process.start()
    assert ours.poll(PATIENCE)
    with pytest.raises(ValueError, match="another run is using") as caught:
        RunFolder(tmp_path).claim(Config())
    assert f": process {ours.recv()} on " in str(caught.value)
    assert "give another --tag" in str(caught.value)
    process.kill()
    process.join()
    RunFolder(tmp_path).claim(Config())


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_claim_of_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch, number):
    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(run_folder, "take_lock", refuse)
    with pytest.raises(ValueError, match=r"cannot write to .*; give --output") as e:
        RunFolder(tmp_path / "run").claim(Config())
    assert os.strerror(number) in str(e.value)
