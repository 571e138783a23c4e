"""What every backbone is tested for, called by the tests of each."""

import pytest
import torch
from faster_rcnn.nets.backbone import Backbone
from faster_rcnn.nets.layers import Norm
from torch import Tensor, nn


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give norms (statistics too) and biases values that no default hides.

    Weights are scaled to carry the image through the depth: initial ones rely on the
    norm for that, and without it biases alone would reach the end.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.6, 1.2, generator=generator)
                part.bias.normal_(0.0, 0.3, generator=generator)
                part.running_mean.normal_(0.0, 0.3, generator=generator)
                part.running_var.uniform_(0.6, 1.4, generator=generator)
            elif isinstance(part, nn.Conv2d | nn.Linear):
                deviation = (2 / part.weight[0].numel()) ** 0.5
                part.weight.normal_(0.0, deviation, generator=generator)
                if part.bias is not None:
                    part.bias.normal_(0.0, 0.3, generator=generator)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def load_classifier(backbone: Backbone, classifier: nn.Module) -> None:
    """Load a classification network's state strictly, less what is not used."""
    state = classifier.state_dict()
    for key in backbone.ignored_keys(state):
        del state[key]
    backbone.load_state_dict(state)


def only_map(
    backbone: Backbone, pixels: Tensor, sizes: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """The map of a trunk that has one, and the images' true sizes in it."""
    (features,), cells = backbone.trunk(pixels, sizes)
    return features, None if cells is None else cells[0]


@torch.no_grad()
def check_padding(backbone: Backbone, *channels: int) -> None:
    """Images in a padded batch have the features they have alone."""
    backbone.eval()
    assert backbone.channels == channels
    assert len(backbone.strides) == len(channels)
    sizes = [(61, 83), (64, 96), (50, 65), (33, 47)]
    batch = torch.zeros(len(sizes), 3, 96, 112)
    singles = [images(1, 3, h, w, seed=h) for h, w in sizes]
    for slot, single in zip(batch, singles, strict=True):
        slot[:, : single.shape[2], : single.shape[3]] = single[0]
    features, cells = backbone.trunk(batch, torch.tensor(sizes))
    assert cells is not None and len(features) == len(channels)
    for i, single in enumerate(singles):
        all_bare, none = backbone.trunk(single, None)
        assert none is None
        for level, bare in enumerate(all_bare):
            stride = backbone.strides[level]
            assert bare.shape[1] == channels[level]
            assert bare.shape[2] in (sizes[i][0] // stride, -(-sizes[i][0] // stride))
            assert cells[level].dtype == torch.int64
            assert tuple(cells[level][i].tolist()) == bare.shape[2:]
            scale = bare.abs().max().item()
            if bare[0, 0].numel() > 1:
                assert bare.std((2, 3)).max() > 0.05 * scale  # the image shows in them
            padded = features[level][i : i + 1, :, : bare.shape[2], : bare.shape[3]]
            tolerance = 1e-4 * max(1.0, scale)
            torch.testing.assert_close(padded, bare, rtol=0, atol=tolerance)


def check_freeze(backbone: Backbone, blocks: int, trained_from: str) -> None:
    """The first blocks get no graph and no statistics; the rest is trained."""
    backbone.freeze(blocks)
    backbone.train()
    names = [name for name, _ in backbone.named_parameters()]
    first = names.index(trained_from)
    assert first > 0
    frozen = {n for n, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == set(names[:first])
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    features, _ = only_map(backbone, images(2, 3, 48, 48))
    features.square().mean().backward()
    for name, parameter in backbone.named_parameters():
        if name in frozen:
            assert parameter.grad is None
    stem = next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    assert not stem(images(1, 3, 48, 48)).requires_grad
    for module_name, module in backbone.named_modules():
        if isinstance(module, Norm):
            fixed = f"{module_name}.weight" in frozen
            assert module.frozen == fixed and module.training != fixed
            key = f"{module_name}.running_mean"
            if fixed:
                assert torch.equal(module.state_dict()["running_mean"], before[key])


def check_freeze_range(backbone: Backbone, most: int) -> None:
    backbone.freeze(0)
    for blocks in (-1, most + 1):
        with pytest.raises(ValueError, match=f"expected 0 to {most} .* found {blocks}"):
            backbone.freeze(blocks)
    backbone.freeze(most)


def check_traces(backbone: Backbone, side: int) -> None:
    """One graph, forward and backward, with padding; bfloat16 and channels_last."""
    backbone.train()
    pixels, sizes = images(2, 3, 48, 64), torch.tensor([[48, 64], [41, 52]])
    pooled = images(3, backbone.channels[0], side, side)

    def both(pixels: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        features, cells = only_map(backbone, pixels, sizes)
        return features, cells, backbone.head(pooled)

    expected = both(pixels, pooled)
    compiled = torch.compile(both, fullgraph=True, backend="eager")
    for got, want in zip(compiled(pixels, pooled), expected, strict=True):
        torch.testing.assert_close(got, want)
    assert expected[2].shape == (3, backbone.head_channels)
    (expected[0].sum() + expected[2].sum()).backward()

    backbone.to(memory_format=torch.channels_last)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    pooled = pooled.contiguous(memory_format=torch.channels_last)
    features, _, vectors = both(pixels, pooled)
    assert features.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(features, expected[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(vectors, expected[2], rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        features, _, vectors = both(pixels, pooled)
    assert features.dtype == torch.bfloat16
    (features.float().sum() + vectors.float().sum()).backward()

    # Statistics of the few cells here would amplify the rounding, so stored ones.
    backbone.eval()
    expected = both(pixels, pooled)
    with torch.autocast("cpu", torch.bfloat16):
        features, _, vectors = both(pixels, pooled)
    assert (features - expected[0]).norm() < 0.05 * expected[0].norm()
    assert (vectors - expected[2]).norm() < 0.05 * expected[2].norm()
