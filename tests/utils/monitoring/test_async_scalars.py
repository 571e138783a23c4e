import pytest
import torch
from faster_rcnn.utils.monitoring import async_scalars
from faster_rcnn.utils.monitoring.async_scalars import AsyncScalars


def test_a_cpu_hands_on_at_once():
    seen = []
    back = AsyncScalars()
    values = {"a": torch.tensor(1.0, requires_grad=True), "b": torch.tensor(2)}
    back.send(values, seen.append)
    assert seen == [{"a": 1.0, "b": 2.0}]
    back.flush()
    assert len(seen) == 1


@pytest.fixture
def queue(monkeypatch):
    """Copies that take time, as on a GPU; tells which of them were waited for."""
    waited = []

    def start(values):
        def read():
            waited.append(float(values[0]))
            return values.tolist()

        return read

    monkeypatch.setattr(async_scalars, "_start_copy", start)
    return waited


class OnGPU(torch.Tensor):
    """A tensor that says it is on a GPU."""

    device = torch.device("cuda")

    def detach(self):
        return self


def on_gpu(value):
    return {"a": torch.tensor(value).as_subclass(OnGPU)}


def test_a_gpu_is_waited_for_an_update_later(queue):
    seen = []
    back = AsyncScalars()
    back.send(on_gpu(1.0), seen.append)
    assert (queue, seen) == ([], [])
    back.send(on_gpu(2.0), seen.append)
    assert (queue, seen) == ([1.0], [{"a": 1.0}])
    back.flush()
    back.flush()
    assert (queue, seen) == ([1.0, 2.0], [{"a": 1.0}, {"a": 2.0}])


def test_what_was_refused_does_not_come_again(queue):
    def refuse(numbers):
        raise ValueError(numbers["a"])

    back = AsyncScalars()
    back.send(on_gpu(1.0), refuse)
    with pytest.raises(ValueError, match="1"):
        back.send(on_gpu(2.0), refuse)
    back.flush()  # the second was never taken
    assert queue == [1.0]
