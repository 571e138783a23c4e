import pytest
from command_lines import REPOSITORY
from faster_rcnn.config.loading import ConfigError, config_from_checkpoint, load_config
from faster_rcnn.config.settings import Config
from faster_rcnn.config.upper_bounds import _LARGEST, _MOST, excesses


def test_recipes_are_far_within():
    for path in [None, *(REPOSITORY / "experiments" / "cfgs").glob("**/*.yml")]:
        assert list(excesses(load_config([path] if path else []))) == []


def test_limits_are_of_settings_that_exist():
    for name in (*_LARGEST, *_MOST):
        section, key = name.split(".")
        assert key in type(getattr(Config(), section)).model_fields, name


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("rpn.channels", "1000000000", "at most 65536"),
        ("pooling.size", "129", "at most 128"),
        ("data.short_sides", "[600, 16385]", "at most 16384"),
        ("data.test_long_side", "100000", "at most 32768"),
        ("anchors.scales", f"[{'1, ' * 101}]", "at most 100 entries"),
        ("train.lr_steps", f"{list(range(1, 20_002))}", "is not a YAML value"),
        ("train.seed", "100000000000000000000", "at most 9007199254740992"),
        ("rpn.border", "-1e300", "at most 9007199254740992"),
        ("data.train_set", "x" * 4097, "at most 4096 characters"),
    ],
)
def test_beyond(name, value, limit):
    with pytest.raises(ConfigError, match=limit) as caught:
        load_config([], [name, value])
    assert name in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("stored", [None, 3, [], {"net": 3}, {3: {}}, {("a", "b"): 1}])
def test_settings_that_are_none(stored):
    with pytest.raises(ConfigError, match="checkpoint: "):
        config_from_checkpoint({} if stored is None else {"config": stored}, [])


def test_many_errors_stay_readable():
    stored = {"data": {"classes": list(range(10_000))}}
    with pytest.raises(ConfigError) as caught:
        config_from_checkpoint({"config": stored}, [])
    assert len(str(caught.value)) < 3000


def test_lists_too_long_to_be_checked():
    level = [1] * 100
    for _ in range(8):
        level = [level] * 100
    itself = []
    itself.append(itself)
    for value in (["same"] * 20_001, level, dict.fromkeys(range(20_001)), itself):
        with pytest.raises(ConfigError, match=r"train.lr: expected fewer entries"):
            config_from_checkpoint({"config": {"train": {"lr": value}}}, [])
