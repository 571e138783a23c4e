from pathlib import Path

import pytest
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.training_stream import Passes
from faster_rcnn.engine.schedule import settle_schedule, share_passes

# Detectron's tutorial: one recipe for 1, 2, 4 and 8 GPUs of two images each.
TUTORIAL = """
train:
  batch_size: 2
  reference_batch: 2
  lr: 0.0025
  iterations: 60000
  lr_steps: [30000, 40000]
  warmup_iterations: 500
  snapshot_every: 10000
"""


def config(*words: object) -> Config:
    return load_config([], [str(word) for word in words])


def settle(config, processes=1, given=(), recorded=None, images=None):
    settled, lines = settle_schedule(
        config,
        processes=processes,
        given=given,
        recorded=recorded,
        train_images=images,
    )
    return settled.train, lines


@pytest.fixture
def tutorial(tmp_path: Path) -> Config:
    (tmp_path / "tutorial.yml").write_text(TUTORIAL)
    return load_config([tmp_path / "tutorial.yml"])


@pytest.mark.parametrize(
    ("gpus", "lr", "iterations", "steps", "warmup", "snapshots"),
    [
        (1, 0.0025, 60000, (30000, 40000), 500, 10000),
        (2, 0.005, 30000, (15000, 20000), 250, 5000),
        (4, 0.01, 15000, (7500, 10000), 125, 2500),
        (8, 0.02, 7500, (3750, 5000), 62, 1250),
    ],
)
def test_detectrons_tutorial(tutorial, gpus, lr, iterations, steps, warmup, snapshots):
    train, lines = settle(tutorial, gpus)
    assert (train.lr, train.iterations, train.lr_steps) == (lr, iterations, steps)
    assert (train.warmup_iterations, train.snapshot_every) == (warmup, snapshots)
    assert train.images_per_update == 2 * gpus
    assert bool(lines) == (gpus > 1)
    # The same by accumulation, and by the size of the batch.
    for key, value in (("accumulate", gpus), ("batch_size", 2 * gpus)):
        changed = tutorial.train.model_copy(update={key: value})
        other, _ = settle(tutorial.model_copy(update={"train": changed}))
        assert (other.lr, other.iterations, other.lr_steps) == (lr, iterations, steps)


def test_scaling_is_logged(tutorial):
    _, lines = settle(tutorial, 8)
    assert lines == [
        "an update has 16 images, the recipe is for 2: linear scaling by 8",
        "  learning rate 0.02 = 0.0025 x 8",
        "  iterations 7500 = 60000 / 8",
        "  learning rate steps 3750, 5000 = 30000, 40000 / 8",
        "  warm-up iterations 62 = 500 / 8",
        "  iterations between snapshots 1250 = 10000 / 8",
    ]


def test_what_is_settled_stays(tutorial):
    settled, _ = settle_schedule(tutorial, processes=8, given=(), recorded=None)
    again = settle_schedule(settled, processes=1, given=(), recorded=None)
    assert again == (settled, [])


def test_smaller_batches_and_broken_factors():
    words = ("train.reference_batch", 4, "train.batch_size", 3, "train.lr", 0.01)
    train, lines = settle(
        config(*words, "train.iterations", 10, "train.lr_steps", "[]")
    )
    assert train.lr == pytest.approx(0.0075, rel=1e-12)
    assert train.iterations == 13 and train.lr_steps == ()
    assert lines[1] == "  learning rate 0.0075 = 0.01 x 3/4"


def test_counts_never_vanish():
    words = ("train.reference_batch", 1, "train.batch_size", 1000)
    steps = ("train.lr_steps", "[3,5]", "train.iterations", 9)
    train, _ = settle(config(*words, *steps, "train.warmup_iterations", 0))
    assert (train.iterations, train.lr_steps, train.snapshot_every) == (1, (1,), 5)
    assert train.warmup_iterations == 0


@pytest.mark.parametrize("reference", ["null", "0"])
def test_scaling_switched_off(reference):
    plain = config("train.reference_batch", reference, "train.batch_size", 2)
    train, lines = settle(plain, 4)
    changed = {"images_per_update": 8}
    assert train == plain.train.model_copy(update=changed) and not lines


def test_command_line_is_taken_literally(tutorial):
    given = {"train.iterations", "train.lr"}
    train, lines = settle(tutorial, 4, given=given)
    assert (train.lr, train.iterations) == (0.0025, 60000)
    assert train.lr_steps == (7500, 10000)
    assert "  iterations 60000, as given" in lines


def test_resumed_run_keeps_its_batch(tutorial):
    begun, _ = settle_schedule(tutorial, processes=8, given=(), recorded=None)
    for processes in (1, 2, 3, 8):
        train, lines = settle(tutorial, processes, recorded=begun)
        assert train == begun.train
        assert ("an update keeps the 16 images that this run began with" in lines) == (
            processes != 8
        )
    # Runs from before there was this setting were of one process.
    old = config("train.batch_size", 2, "train.accumulate", 3)
    assert settle(tutorial, 4, recorded=old)[0].images_per_update == 6
    # Who asks for another batch gets another run, or an error of the folder.
    asked = tutorial.train.model_copy(update={"images_per_update": 4})
    asked = tutorial.model_copy(update={"train": asked})
    assert settle(asked, 2, recorded=begun)[0].images_per_update == 4


def test_validation_and_averaging_scale_too():
    words = ("train.reference_batch", 2, "train.batch_size", 8)
    train, lines = settle(
        config(*words, "train.validate_every", 1000, "train.ema", 0.99)
    )
    assert train.validate_every == 250
    assert train.ema == pytest.approx(0.99**4, rel=1e-12)
    assert lines[-2:] == [
        "  iterations between validations 250 = 1000 / 4",
        "  decay of averaged weights 0.96059601 = 0.99 ^ 4",
    ]
    train, lines = settle(config(*words))
    assert (train.validate_every, train.ema) == (0, 0) and "average" not in lines[-1]


EPOCHS = ("train.epochs", 12, "train.iterations", 60, "train.lr_steps", "[40,55]")


@pytest.mark.parametrize(
    ("batch", "iterations", "steps"),
    [(1, 1200, (800, 1100)), (2, 600, (400, 550)), (7, 171, (114, 157))],
)
def test_epochs_by_hand(batch, iterations, steps):
    """100 images; steps at 40 / 60 and 55 / 60 of the run stay there."""
    train, lines = settle(config(*EPOCHS, "train.batch_size", batch), images=100)
    assert (train.iterations, train.lr_steps) == (iterations, steps)
    assert lines == [
        f"12 epochs of 100 images: {iterations} iterations of {batch}",
        f"  learning rate steps {steps[0]}, {steps[1]}, as 40, 55 of 60",
    ]
    assert train.epochs == 12


def test_epochs_are_not_scaled_with_the_batch():
    words = (*EPOCHS, "train.reference_batch", 2, "train.lr", 0.1, "train.ema", 0.9)
    words += ("train.snapshot_every", 8, "train.validate_epochs", 0.5)
    settled, lines = settle_schedule(
        config(*words, "train.batch_size", 4),
        processes=2,
        given=(),
        recorded=None,
        train_images=100,
    )
    train = settled.train
    assert (train.iterations, train.lr_steps) == (150, (100, 138))  # of 8 images
    assert (train.lr, train.snapshot_every) == (pytest.approx(0.4), 2)
    assert (train.validate_every, train.ema) == (6, pytest.approx(0.9**4))
    assert not [line for line in lines if line.startswith("  iterations 1")]
    assert lines[-1] == "  a validation every 6 iterations, that is 0.5 epochs"
    # Settled once more, it stays as it is, also where a file is used as a recipe.
    again, _ = settle(settled, images=100)
    assert again == train
    # More images make for a longer run of the same kind.
    more, _ = settle(settled, images=200)
    assert (more.iterations, more.validate_every) == (300, 12)


def test_steps_in_epochs():
    words = (*EPOCHS, "train.lr_epochs", "[8, 11.5]", "train.batch_size", 2)
    train, lines = settle(config(*words), images=100)
    assert train.lr_steps == (400, 575)
    assert lines[1] == "  learning rate steps 400, 575, after 8, 11.5 epochs"
    # Also where the length is in iterations.
    train, _ = settle(config("train.lr_epochs", "[8]", "train.lr", 0.1), images=10)
    assert (train.iterations, train.lr_steps) == (70000, (80,))


def test_command_line_outranks_epochs_of_a_recipe():
    train, lines = settle(config(*EPOCHS), given={"train.iterations"}, images=100)
    assert (train.iterations, train.lr_steps) == (60, (40, 55))
    assert train.epochs is None and not lines
    train, _ = settle(config(*EPOCHS), given={"train.lr_steps"}, images=100)
    assert (train.iterations, train.lr_steps) == (1200, (40, 55))
    with pytest.raises(ValueError, match=r"train.iterations and train.epochs are both"):
        settle(config(*EPOCHS), given={"train.iterations", "train.epochs"}, images=100)


def test_an_epoch_has_an_update():
    train, _ = settle(config("train.epochs", 0.01, "train.lr_steps", "[]"), images=3)
    assert (train.iterations, train.lr_steps) == (1, ())


def test_no_epochs_no_change():
    plain = config("train.lr", 0.1)
    assert settle(plain, images=100) == settle(plain)


def shares(processes, *words):
    train = config(*words).train
    return [share_passes(train, rank=r, processes=processes) for r in range(processes)]


@pytest.mark.parametrize(
    ("processes", "words", "mine"),
    [
        (1, (), [range(1)]),
        (1, ("train.accumulate", 3), [range(3)]),
        (2, (), [range(1), range(1, 2)]),
        (2, ("train.accumulate", 2), [range(2), range(2, 4)]),
        (2, ("train.images_per_update", 3), [range(1), range(1, 3)]),
        (3, ("train.images_per_update", 8), [range(2), range(2, 5), range(5, 8)]),
    ],
)
def test_every_pass_has_one_process(processes, words, mine):
    found = shares(processes, *words)
    assert [passes.mine for passes in found] == mine
    assert {(p.size, p.total) for p in found} == {(1, mine[-1].stop)}


def test_last_pass_may_be_smaller():
    found = shares(1, "train.batch_size", 2, "train.images_per_update", 5)
    assert found == [Passes(images=5, size=2, total=3, mine=range(3))]


@pytest.mark.parametrize(
    ("processes", "words", "problem"),
    [
        (3, ("train.images_per_update", 2), "2 images in 2 passes .* at least 3"),
        (
            2,
            ("train.images_per_update", 3, "train.sync_bn", "true"),
            r"a multiple of 2 \(train.sync_bn\) passes for 2 processes",
        ),
    ],
)
def test_batches_that_cannot_be_shared(processes, words, problem):
    with pytest.raises(ValueError, match=problem):
        shares(processes, *words)


def test_warmup_takes_a_tenth_of_a_short_run_at_most(tutorial):
    def short(iterations, *given, recorded=None):
        train = tutorial.train.model_copy(update={"iterations": iterations})
        shortened = tutorial.model_copy(update={"train": train})
        settled, lines = settle(shortened, given=given, recorded=recorded)
        return settled.warmup_iterations, lines, shortened

    assert short(5000)[:2] == (500, [])
    warmup, (line,), whole = short(60)
    assert warmup == 6 and "warm-up iterations 6, a tenth" in line and "500" in line
    assert short(9)[0] == 0
    # As given, and as a run of before this rule has it recorded.
    assert short(60, "train.warmup_iterations")[:2] == (500, [])
    assert short(60, recorded=whole)[:2] == (500, [])
    # Twice the batch halves both before the tenth is taken.
    assert settle(whole, 2)[0].warmup_iterations == 3
