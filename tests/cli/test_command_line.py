"""Arguments, the job they ask for, and its data."""

import argparse
from pathlib import Path

import pytest
import torch
from dataset_folders import write_voc
from faster_rcnn.cli import command_line
from faster_rcnn.cli.arguments.shared import add_arguments, add_training_arguments
from faster_rcnn.cli.arguments.train import build_parser
from faster_rcnn.cli.command_line import (
    automatic_tag,
    get_dataset,
    make_job,
    run_parent,
)
from faster_rcnn.config.loading import ConfigError
from faster_rcnn.engine.run_folder import RunFolder


def parse(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    add_training_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_job(recipes, tmp_path):
    recipes(
        res18="train: {lr: 0.1, seed: 1, momentum: 0.1}\n",
        own_data="train: {lr: 0.2, momentum: 0.2, gamma: 0.2}\n",
    )
    cells = write_voc(tmp_path / "My Cells", train="01", test="23")
    cfg = tmp_path / "mine.yml"
    cfg.write_text("train: {momentum: 0.3, weight_decay: 0.3, precision: float32}\n")
    job = make_job(
        parse(cells, "res18", "--cfg", cfg, "--set", "train.weight_decay", "0.4")
    )
    train = job.config.train
    assert (train.seed, train.lr, train.gamma) == (1, 0.2, 0.2)
    assert (train.momentum, train.weight_decay) == (0.3, 0.4)
    assert [path.stem for path in job.recipes] == ["res18", "own_data", "mine"]
    assert job.config.net.name == "res18"
    assert job.tag == "mine_train.weight_decay=0.4"
    assert job.dataset == job.config.data.train_set == str(cells)
    assert job.config.data.root == Path.cwd() / "data"
    assert job.dtype == torch.float32
    assert job.device.type in ("cuda", "mps", "cpu")

    for split, stems in (("train", ["0", "1"]), ("test", ["2", "3"])):
        dataset = get_dataset(job.dataset, job.config, split)
        assert dataset.name == f"my_cells_{split}"
        assert dataset.classes == ("__background__", "cat")
        assert [record.image_id for record in dataset.records] == stems
        assert dataset.records[0].boxes.tolist() == [[1, 1, 9, 9]]
    parent = run_parent(tmp_path / "out", "res18", job.config.data.train_set)
    assert parent == tmp_path / "out" / "res18" / "my_cells_train"


def test_words_of_other_programs(recipes):
    recipes(shapes="train: {lr: 0.1}\n")
    words = ["shapes", "--batch-size", 2, "--lr", "1e-3", "--epochs", 3, "--imgsz", 320]
    words += ["--workers", 0, "--name", "mine", "--project", "here"]
    arguments = parse(*words, "--cfg-options", "train.gamma=0.2", "train.momentum", 0.3)
    job = make_job(arguments)
    config, train = job.config, job.config.train
    assert (train.batch_size, train.lr, train.epochs) == (2, 0.001, 3)
    assert (train.gamma, train.momentum) == (0.2, 0.3)
    assert (config.data.short_sides, config.data.test_long_side) == ((320,), 320)
    assert (config.data.workers, job.tag, arguments.output) == (0, "mine", Path("here"))
    assert config.net.full_name == "res18"

    arguments.tag = None
    job = make_job(arguments)
    assert job.tag.startswith("train.epochs=3_train.batch_size=2_train.lr=1e-3_")
    assert "workers" not in job.tag  # which do not make it another run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.b", "1", "c.d=2", "e.f", "x=y"], ["a.b", "1", "c.d", "2", "e.f", "x=y"]),
        (["data.train_set=a=b", "c.d"], ["data.train_set", "a=b", "c.d"]),
        (["c.d=", "no-key=1"], ["c.d", "", "no-key=1"]),
    ],
)
def test_settings_with_equals_signs(words, expected):
    assert parse("shapes", "--set", *words).overrides == expected


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--batch", "; did you mean --batch-size?"),
        ("--batchsize=4", "; did you mean --batch-size?"),
        ("--learning-rate=1", "; did you mean --lr?"),
        ("--model", "; did you mean NET?"),
        ("epochs=3", "; did you mean --epochs 3?"),
        ("train.lr=3", "; did you mean --set train.lr=3?"),
        ("--nothing-like-it", ""),
    ],
)
def test_hints_at_options(capsys, word, hint):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["shapes", "res18", word])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"unrecognized arguments: {word}{hint}")


def test_a_folder_is_one_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "my photos").mkdir()
    monkeypatch.chdir(tmp_path)
    for word in ("my photos", "./my photos", str(tmp_path / "my photos")):
        assert run_parent(Path(), "res18", word) == Path("res18/my_photos_train")


def test_job_of_a_known_set(recipes):
    recipes(voc="train: {iterations: 70}\n")
    job = make_job(parse("voc", "res101"))
    assert job.tag == "default"
    assert job.config.train.iterations == 70
    assert job.config.data.train_set == "voc_2007_trainval"
    assert job.config.data.test_set == "voc_2007_test"
    parent = run_parent(Path("out"), "res101", job.config.data.train_set)
    assert parent == Path("out/res101/voc_2007_trainval")
    joined = run_parent(Path("out"), "res101", "voc_2007_trainval+voc_2012_trainval")
    assert joined == Path("out/res101/voc_2007_trainval+voc_2012_trainval")


def test_job_with_options(recipes):
    recipes(voc="")
    words = ["--weights", "some/file.pth", "--iters", "7", "--seed", "5"]
    words += ["--device", "cpu", "--set", "Train.LR", "1e-3"]
    job = make_job(parse("voc", "vgg16", *words, "--set", "rpn.sigma", "2"))
    train = job.config.train
    assert (train.iterations, train.seed, train.lr) == (7, 5, 0.001)
    assert job.config.rpn.sigma == 2
    assert job.config.net.weights == "some/file.pth"
    assert job.device == torch.device("cpu")
    assert job.tag == (
        "net.weights=file.pth_train.iterations=7_train.seed=5_train.lr=1e-3_rpn.sigma=2"
    )
    job = make_job(parse("voc", "vgg16", *words, "--tag", "mine"))
    assert job.tag == "mine"


def test_slash_behind_a_folder_makes_no_difference(recipes, tmp_path):
    recipes(own_data="")
    cells = write_voc(tmp_path / "cells", train="01", test="23")
    one, two = (make_job(parse(word, "res18")) for word in (cells, f"{cells}/"))
    assert one.config == two.config
    RunFolder(tmp_path / "run").claim(one.config)
    RunFolder(tmp_path / "run").claim(two.config)


def test_folder_with_a_number_for_a_name(recipes, tmp_path, monkeypatch):
    recipes(own_data="")
    write_voc(tmp_path / "2007", train="01", test="23")
    monkeypatch.chdir(tmp_path)
    job = make_job(parse("2007", "res18"))
    assert job.config.data.train_set == job.config.data.test_set == "2007"
    assert len(get_dataset("2007", job.config, "train").records) == 2


def test_sets_of_a_folder(recipes, tmp_path):
    recipes(own_data="train: {validate_every: 7, validate_epochs: 3, patience: 2}\n")
    cells = write_voc(tmp_path / "cells", train="01", test="23")
    lists = cells / "ImageSets" / "Main"

    def images(job, split):
        found = get_dataset(job.dataset, job.config, split)
        return [record.image_id for record in found.records]

    # Nothing to validate on: what the recipe asks for is left out.
    (lists / "trainval.txt").write_text("0\n1\n")
    job = make_job(parse(cells, "res18"))
    train, data = job.config.train, job.config.data
    assert (train.validate_every, train.validate_epochs, train.patience) == (0, None, 0)
    assert data.val_set is None and images(job, "train") == ["0", "1"]
    with pytest.raises(ValueError, match="has no set to validate on"):
        get_dataset(job.dataset, job.config, "val")
    # What the command line asks for is not.
    job = make_job(parse(cells, "res18", "--set", "train.validate_every", "5"))
    assert job.config.train.validate_every == 5

    (lists / "train.txt").write_text("0\n")
    (lists / "val.txt").write_text("1\n")
    job = make_job(parse(cells, "res18"))
    assert job.config.train.validate_every == 7
    assert job.config.data.val_set == str(cells)
    splits = ("train", "val", "test")
    assert [images(job, split) for split in splits] == [["0"], ["1"], ["2", "3"]]
    # Without validation, val is learned from; a part of a detector has no AP.
    for words in (("train.validate_every", "0"), ("net.modules", "rpn")):
        words = (*words, "train.validate_epochs", "null") if "0" in words else words
        job = make_job(parse(cells, "res18", "--set", *words))
        assert images(job, "train") == ["0", "1"]


def test_folder_called_as_a_word(recipes, tmp_path, monkeypatch):
    recipes(own_data="", coco="")
    write_voc(tmp_path / "coco", train="01", test="23")
    monkeypatch.chdir(tmp_path)
    for word in ("coco/", "./coco", str(tmp_path / "coco")):
        job = make_job(parse(word, "res18"))
        assert [path.stem for path in job.recipes] == ["own_data"]
        assert len(get_dataset(word, job.config, "train").records) == 2


def test_missing_folder_of_images(recipes, tmp_path):
    recipes(own_data="")
    (tmp_path / "cells").mkdir()
    job = make_job(parse(tmp_path / "cells", "res18"))
    with pytest.raises(ValueError, match="cells: expected Annotations/"):
        get_dataset(job.dataset, job.config, "train")


@pytest.mark.parametrize(
    ("cfg", "words", "tag"),
    [
        (None, [], "default"),
        ("a/mine.yml", [], "mine"),
        (None, ["train.lr", "0.1"], "train.lr=0.1"),
        ("mine.yml", ["Train.LR", "1e-3"], "mine_train.lr=1e-3"),
        (None, ["anchors.scales", "[1, 2]"], "anchors.scales=-1-2-"),
        (None, ["net.weights", "../a b/c d.pth"], "net.weights=c-d.pth"),
        (None, ["data.root", "/"], "data.root="),
        (None, ["x.y", "a;rm -rf *$(b)`c`'\"|&<>\n"], "x.y=a-rm--rf-b-c-"),
    ],
)
def test_automatic_tag(cfg, words, tag):
    assert automatic_tag(Path(cfg) if cfg else None, words) == tag


def test_long_automatic_tag():
    def tag(count, last="1"):
        words = [w for i in range(count) for w in (f"train.key{i}", "1")]
        return automatic_tag(None, [*words[:-1], last])

    assert len(tag(6)) <= 80 and tag(6).endswith("train.key5=1")
    long = tag(9)
    assert len(long) <= 80 and long.startswith("train.key0=1_train.key1=1_")
    assert long == tag(9)  # the same command goes on with its run
    assert len({long, tag(9, "2"), tag(10)}) == 3
    assert long[-8:] == "ed3c567b"  # and in another process, too


def test_classes_of_a_run(recipes, tmp_path):
    recipes(own_data="")
    cells = write_voc(tmp_path / "cells", train="01", test="23")
    job = make_job(parse(cells, "res18", "--set", "data.classes", "[cat]"))
    assert job.config.data.classes == ("cat",)
    assert get_dataset(job.dataset, job.config, "test").classes[1:] == ("cat",)
    job = make_job(parse(cells, "res18", "--set", "data.classes", "[cta]"))
    with pytest.raises(ValueError, match=r"unknown class 'cta' .did you mean 'cat'"):
        get_dataset(job.dataset, job.config, "train")
    with pytest.raises(ConfigError, match=r"data\.classes: .*found \(\)|found \[\]"):
        make_job(parse(cells, "res18", "--set", "data.classes", "[]"))


def test_download_of_the_sets_that_are_read(recipes, tmp_path, monkeypatch):
    recipes(coco="")
    asked = []
    monkeypatch.setattr(
        command_line, "ensure_downloaded", lambda word, root: asked.append(word)
    )
    words = ["--set", "data.root", str(tmp_path), "data.train_set", "coco_2014_train"]
    job = make_job(parse("coco", "res18", *words))
    for split, file in (("train", "train2014"), ("test", "val2017")):
        with pytest.raises(ValueError, match=f"instances_{file}.json, not found"):
            get_dataset(job.dataset, job.config, split)
    assert asked == ["coco"]  # for coco_2017_val


def test_deterministic():
    assert make_job(parse("voc", "res18", "--deterministic")).config.train.deterministic
    assert not make_job(parse("voc", "res18")).config.train.deterministic
