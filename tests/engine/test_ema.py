import pytest
import torch
from faster_rcnn.engine.ema import WeightAverage, weights_to_test
from faster_rcnn.nets.layers import Norm
from torch import nn


class Parts(nn.Module):
    """Trained and frozen weights, norms that learn and norms that do not."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.norm = Norm(2, "batch")
        self.fixed = Norm(2, "frozen")
        self.register_buffer("constant", torch.ones(3))

    def change(self, step):
        """As an update does; what is frozen is changed too, to see that it is left."""
        with torch.no_grad():
            for number, tensor in enumerate(self.state_dict().values()):
                if tensor.is_floating_point():
                    tensor += step * (number + 1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Parts()


AVERAGED = {
    *("conv.weight", "conv.bias", "norm.weight", "norm.bias"),
    *("norm.running_mean", "norm.running_var"),
}


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_trained_is_averaged(model):
    average = WeightAverage(model, 0.9)
    assert average.state_dict()["weights"].keys() == AVERAGED


def test_two_updates_by_hand():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    average = WeightAverage(model, 0.15)
    for value, mean in (
        # The decay rises: 1 / 10, then 2 / 11 but for the limit.
        (4.0, 0.1 * 2 + 0.9 * 4),
        (-1.0, 0.15 * (0.1 * 2 + 0.9 * 4) + 0.85 * -1),
    ):
        nn.init.constant_(model.weight, value)
        average.update()
        (found,) = average.state_dict()["weights"].values()
        assert found.item() == pytest.approx(mean, rel=1e-6)
        assert model.weight.item() == value


def test_average_follows_the_formula(model):
    average = WeightAverage(model, 0.6)
    want = {name: model.state_dict()[name].double() for name in AVERAGED}
    for t in range(30):
        model.change(0.1 * (-1) ** t * (t % 5))
        average.update()
        decay = min(0.6, (1 + t) / (10 + t))
        for name, mean in want.items():
            want[name] = decay * mean + (1 - decay) * model.state_dict()[name].double()
    found = average.state_dict()
    assert found["updates"] == 30 and decay == 0.6
    for name, mean in want.items():
        torch.testing.assert_close(
            found["weights"][name].double(), mean, rtol=1e-5, atol=1e-6
        )


def test_a_run_continues_from_the_state(model):
    average = WeightAverage(model, 0.9)
    model.change(0.3)
    average.update()
    state = average.state_dict()
    state = state | {"weights": {k: v.clone() for k, v in state["weights"].items()}}
    other = WeightAverage(model, 0.9)
    other.load_state_dict(state)
    model.change(-0.7)
    for one in (average, other):
        one.update()
    assert other.updates == 2
    assert_same(average.state_dict()["weights"], other.state_dict()["weights"])


def test_state_of_another_model(model):
    state = WeightAverage(model, 0.9).state_dict()
    model.fixed.weight.requires_grad_(True)
    with pytest.raises(ValueError, match=r"fixed.weight is in one of them only"):
        WeightAverage(model, 0.9).load_state_dict(state)


def test_tested_weights_are_the_averaged_ones(model):
    average = WeightAverage(model, 0.9)
    model.change(0.3)
    average.update()
    before, means = copies(model), dict(average.state_dict()["weights"])
    means = {name: mean.clone() for name, mean in means.items()}
    with weights_to_test(model, average):
        assert_same(copies(model), before | means)
    assert_same(copies(model), before)
    assert_same(average.state_dict()["weights"], means)
    with pytest.raises(KeyError), weights_to_test(model, average):
        raise KeyError
    assert_same(copies(model), before)


def test_without_an_average_nothing_changes(model):
    before = copies(model)
    with weights_to_test(model, None):
        assert_same(copies(model), before)
