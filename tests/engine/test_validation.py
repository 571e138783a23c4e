import math

import pytest
import torch
from dataset_folders import ids, load, write_voc
from equality import assert_equal
from faster_rcnn.config.loading import load_config
from faster_rcnn.datasets.catalog import register
from faster_rcnn.engine.validation import (
    Validation,
    get_validation_set,
    log_validation,
    resume_without_validation,
)
from faster_rcnn.engine.validation_metrics import ValidationMetrics, measure
from faster_rcnn.inference.detector_evaluation import evaluate_detector as run_test
from tiny_runs import (
    CPU,
    draw_dataset,
    make_dataset,
    make_record,
    randomise,
    tiny_config,
    tiny_detector,
)


def validation(dataset, *words):
    config = load_config([], [str(word) for word in words])
    return Validation(dataset, config, device=CPU, dtype=torch.float32)


def measures(ap=0.5, loss=1.0):
    return ValidationMetrics({"a": loss / 4, "b": loss * 3 / 4}, {"AP": ap}, ("AP", ap))


def due_at(validation, last):
    found = []
    for done in range(last + 1):
        if validation.due(done):
            found.append(done)
            validation.take(done, measures())
            assert not validation.due(done)
    return found


def test_validations_are_due_every_so_often_and_at_the_end(dataset):
    words = ("train.iterations", 10, "train.validate_every", 4)
    assert due_at(validation(dataset, *words), 10) == [4, 8, 10]
    assert due_at(validation(dataset, "train.iterations", 10), 10) == []
    assert due_at(validation(None, *words), 10) == []


def test_best_and_patience_by_hand(dataset):
    found = validation(dataset, "train.patience", 2)
    course = []
    for done, ap in enumerate([0.1, 0.3, 0.3, 0.4, 0.2, math.nan], start=1):
        assert not found.exhausted
        course.append((found.take(done, measures(ap)), found.best, found.without_gain))
    assert course == [
        (True, 0.1, 0),
        (True, 0.3, 0),
        (False, 0.3, 1),  # no better
        (True, 0.4, 0),
        (False, 0.4, 1),
        (False, 0.4, 2),
    ]
    assert found.exhausted and found.best_iteration == 4
    again = validation(dataset, "train.patience", 2)
    again.load_state_dict(found.state_dict())
    assert again.exhausted and vars(again).keys() == vars(found).keys()
    assert again.state_dict() == found.state_dict()


def test_patience_of_zero_never_ends(dataset):
    found = validation(dataset)
    for done in range(1, 20):
        found.take(done, measures(0.5))
    assert not found.exhausted


def test_best_by_loss(dataset):
    found = validation(dataset, "train.best_by", "loss")
    losses = [3.0, math.nan, 2.0, 2.5]
    course = [found.take(i, measures(i, loss)) for i, loss in enumerate(losses, 1)]
    assert course == [True, False, True, False]
    assert found.best_iteration == 3


def test_not_a_number_is_never_the_best(dataset):
    found = validation(dataset)
    assert not found.take(5, measures(math.nan)) and found.best is None
    assert found.summary(measures(math.nan)) == (
        "validation after 5 iterations: loss 1.0000, AP nan"
    )
    assert found.take(6, measures(0.0))
    assert found.summary(measures(0.0)).endswith("AP 0.0000, the best so far")
    found.take(7, measures(0.0))
    assert found.summary(measures(0.0)).endswith("; the best was after 6")


def test_names_of_the_numbers():
    assert measures().numbers() == {
        "val/loss": 1.0,
        "val/a": 0.25,
        "val/b": 0.75,
        "val/AP": 0.5,
    }


@pytest.fixture(scope="module")
def model():
    model = tiny_detector(tiny_config("net.norm", "frozen"))
    randomise(model)
    return model.train()


def measure_here(model, dataset, *words, **options):
    config = tiny_config("net.norm", "frozen", *words)
    return measure(model, dataset, config, device=CPU, dtype=torch.float32, **options)


@pytest.mark.parametrize("words", [(), ("test.tiles", 48, "test.batch_size", 2)])
def test_scores_are_those_of_a_test(model, dataset, tmp_path, words):
    config = tiny_config("net.norm", "frozen", *words)
    place = {"device": CPU, "dtype": torch.float32}
    want = run_test(model, dataset, config, folder=tmp_path, checkpoint="", **place)
    found = measure_here(model, dataset, *words)
    assert found.scores == want.scalars() and found.headline == want.headline
    assert found.scores["mAP_07"] > 0


def test_losses_are_means_over_all_samples(dataset, monkeypatch):
    """Against the detector's own losses, image by image, with its samples counted."""
    model = tiny_detector(tiny_config("rpn.batch_size", 1000))  # all that are labelled
    randomise(model)
    seen = []
    losses = type(model).losses

    def record(self, *arguments):
        seen.append(losses(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(type(model), "losses", record)
    found = measure_here(model, dataset, "test.batch_size", 1)
    assert len(seen) == 5 and found.losses.keys() == seen[0].losses.keys()
    assert len({int(o.counts["rpn_fg"] + o.counts["rpn_bg"]) for o in seen}) > 1
    for name, value in found.losses.items():
        total = samples = 0.0
        for output in seen:
            stage = name.split("_")[0]
            number = output.counts[f"{stage}_fg"] + output.counts[f"{stage}_bg"]
            assert output.terms[name].count == number
            mean = output.losses[name].item()
            assert output.terms[name].total.item() == pytest.approx(
                mean * number.item()
            )
            total += output.terms[name].total.item()
            samples += number.item()
        assert value == pytest.approx(total / samples, rel=1e-9) and value > 0
    assert found.loss == pytest.approx(sum(found.losses.values()))


def test_validation_repeats_itself_and_leaves_no_trace(model, dataset):
    found = validation(dataset)
    found.config = tiny_config("net.norm", "frozen")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    first = found.measure(model, None)
    assert found.measure(model, None) == first
    assert torch.equal(torch.get_rng_state(), random)
    assert_equal(dict(model.state_dict()), before)
    assert model.training and not any(
        part.training for part in model.modules() if getattr(part, "frozen", False)
    )
    # Nothing is left that a gradient could not pass through.
    assert all(not tensor.is_inference() for tensor in model.buffers())


def test_difficult_objects_count_as_in_training(tmp_path, model):
    (drawn,) = draw_dataset(tmp_path, 1).records
    flags = {"difficult": [True] * len(drawn.boxes)}
    difficult = make_dataset(
        [make_record(drawn.path, 80, 64, drawn.boxes, drawn.classes, **flags)]
    )
    trained = measure_here(model, difficult, "data.use_difficult", "true")
    left = measure_here(model, difficult)
    assert trained.losses["rpn_box"] > 0 == left.losses["rpn_box"]
    # The score is by the rules of the benchmark in any case.
    assert left.scores == trained.scores and math.isnan(left.headline[1])


def test_validation_is_given_up_on_request(model, dataset):
    asked = iter([False, True])
    assert measure_here(model, dataset, stop_requested=lambda: next(asked)) is None
    assert next(asked, "none left") == "none left"


def test_unreadable_image_is_an_error(tmp_path, model):
    dataset = draw_dataset(tmp_path, 2)
    dataset.records[1].path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"image1\.png: expected an image"):
        measure_here(model, dataset)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["train.patience", 3], "train.patience 3 counts validations, but the run"),
        (["train.validate_every", 5], "train.validate_every needs data.val_set"),
        (["train.validate_epochs", 0.5], "train.validate_every needs data.val_set"),
        (
            ["train.validate_every", 5, "data.val_set", "nowhere"],
            "unknown data set 'nowhere'",
        ),
    ],
)
def test_settings_that_do_not_fit_together(dataset, words, problem):
    with pytest.raises(ValueError, match=problem):
        get_validation_set(load_config([], map(str, words)), dataset)


def test_folder_is_validated_on_its_val(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = write_voc(tmp_path / "own", train=["a"], val=["b"], test=["c"])
    words = ["data.val_set", str(folder), "train.validate_every", "5"]
    train_set = load(folder, tmp_path)
    found = get_validation_set(load_config([], words), train_set)
    assert found.name == "own_val" and ids(found) == ["b"]
    config = load_config([], words)
    test_set = load(folder, tmp_path, "test")
    log_validation(config, found, test_set)
    assert "validation on own_val: 1 images, every 5 iterations" in caplog.text
    log_validation(load_config([], []), None, test_set)
    assert "no validation: there is no validation set (data.val_set)" in caplog.text
    assert "no other test set" not in caplog.text
    log_validation(config, found, load(folder, tmp_path, "val"))
    assert "there is no other test set" in caplog.text
    (folder / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"expected val\.txt for the validation set"):
        get_validation_set(config, train_set)


def test_run_that_began_without_a_validation_set():
    words = ["data.val_set", "own", "train.validate_every", "5"]
    now, before = load_config([], words), load_config([], [])
    resumed = resume_without_validation(now, [], before)
    assert resumed == before
    for given, recorded in (
        ([], None),
        ([], now),
        (["data.val_set"], before),
        (["train.validate_every"], before),
    ):
        assert resume_without_validation(now, given, recorded) == now


def test_published_word_has_no_validation_set(dataset, tmp_path):
    words = ["data.val_set", "voc", "train.validate_every", "5"]
    with pytest.raises(
        ValueError, match="voc has a training and a test set, but no validation set"
    ):
        get_validation_set(load_config([], words), dataset)


def test_validation_set(dataset, tmp_path):
    here = {"set": dataset}
    register("tiny-validation", lambda root, split: here["set"])
    words = ["data.val_set", "tiny-validation", "data.root", str(tmp_path)]
    assert get_validation_set(load_config([], words), dataset) is None
    config = load_config([], [*words, "train.validate_every", "5"])
    assert len(get_validation_set(config, dataset).records) == 5
    other = make_dataset(dataset.records)
    object.__setattr__(other, "classes", ("__background__", "disc", "box"))
    with pytest.raises(ValueError, match="has the classes box, disc, but tiny has di"):
        get_validation_set(config, other)
    here["set"] = make_dataset([])
    with pytest.raises(ValueError, match="has no images"):
        get_validation_set(config, dataset)


def test_empty_ground_truth_has_losses(tmp_path, model):
    (drawn,) = draw_dataset(tmp_path, 1).records
    bare = make_dataset([make_record(drawn.path, 80, 64)])
    found = measure_here(model, bare)
    assert found.losses["rpn_box"] == 0 < found.losses["rpn_cls"]
    assert math.isnan(found.headline[1])
