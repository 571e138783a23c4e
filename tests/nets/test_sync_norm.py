import pytest
import torch
from faster_rcnn.nets.layers import ConvNorm, Norm
from faster_rcnn.nets.sync_norm import SyncNorm, synchronise_norms
from faster_rcnn.utils.distributed import collectives
from many_processes import in_processes
from torch import nn


def inputs():
    generator = torch.Generator().manual_seed(1)
    # Far from zero, where squares lose digits.
    return 10 + torch.randn(5, 4, 3, 6, generator=generator)


def normalise(parts):
    """Norm this process's images; gives output, gradients and statistics."""
    torch.manual_seed(0)
    norm = Norm(4, "batch").train()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    if collectives.is_distributed():
        assert synchronise_norms(norm) == 1
    first, last = parts[collectives.process_rank().rank]
    x = inputs()[first:last].requires_grad_()
    y = norm(x)
    (y.sin() * torch.arange(6)).sum().backward()
    return [
        t.detach().tolist() for t in (y, x.grad, norm.running_mean, norm.running_var)
    ] + [norm.weight.grad.tolist(), norm.bias.grad.tolist()]


@pytest.mark.processes
def test_two_processes_normalise_as_one_with_all_images():
    want = list(map(torch.tensor, normalise([(0, 5)])))
    results = in_processes(normalise, [(0, 2), (2, 5)])
    one, other = (list(map(torch.tensor, result)) for result in results)
    for a, b, c in zip(one[:2], other[:2], want[:2], strict=True):
        torch.testing.assert_close(torch.cat((a, b)), c, rtol=1e-4, atol=1e-5)
    for a, b, c in zip(one[2:4], other[2:4], want[2:4], strict=True):
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(b, c)
    # The gradients of the weights are summed by whoever adds up the processes.
    for a, b, c in zip(one[4:], other[4:], want[4:], strict=True):
        torch.testing.assert_close(a + b, c, rtol=1e-4, atol=1e-3)


def test_frozen_norms_are_left_alone():
    net = nn.Sequential(
        ConvNorm(3, 4, 3, norm="frozen"), ConvNorm(4, 4, 3, norm="batch")
    )
    state = {key: value.clone() for key, value in net.state_dict().items()}
    assert synchronise_norms(net) == 1
    assert not isinstance(net[0][1], SyncNorm) and isinstance(net[1][1], SyncNorm)
    assert list(net.state_dict()) == list(state)
    assert synchronise_norms(net[0]) == 0
    # Testing needs no other process.
    net.eval()
    assert net(torch.zeros(1, 3, 4, 4)).shape == (1, 4, 4, 4)
