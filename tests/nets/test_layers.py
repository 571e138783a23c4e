import copy

import pytest
import torch
from backbone_checks import images, randomise
from faster_rcnn.kernels.convolution import is_depthwise
from faster_rcnn.nets import BACKBONES, build_backbone
from faster_rcnn.nets.layers import (
    ConvNorm,
    Norm,
    conv_norm,
    init_convs,
    shrink,
    zero_padding,
)
from torch import nn

OPTIONS = {
    "style": "pytorch",
    "norm": "frozen",
    "fixed_blocks": None,
    "head_stride": 1,
    "dropout": 0.5,
}


def pair(kind: str, groups: int = 1) -> tuple[nn.Conv2d, Norm]:
    torch.manual_seed(0)
    layer = ConvNorm(4, 8, 3, stride=2, groups=groups, norm=kind)
    randomise(layer)
    return layer[0], layer[1]


def test_norm_has_the_state_of_batch_norm():
    norm, plain = Norm(5, "frozen"), nn.BatchNorm2d(5)
    assert list(norm.state_dict()) == list(plain.state_dict())
    norm.load_state_dict(plain.state_dict())


def test_frozen_norm_stays_frozen_under_train():
    model = nn.Sequential(nn.Sequential(Norm(3, "frozen")), Norm(3, "batch"))
    model = copy.deepcopy(model)
    model.train()
    frozen, batch = model[0][0], model[1]
    assert not frozen.training and batch.training
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(p.requires_grad for p in batch.parameters())
    frozen(images(2, 3, 4, 4))
    assert frozen.num_batches_tracked == 0 and torch.all(frozen.running_mean == 0)
    batch.freeze()
    model.train()
    assert not batch.training


def test_conv_norm_by_hand():
    conv, norm = nn.Conv2d(1, 1, 1, bias=False), Norm(1, "frozen")
    with torch.no_grad():
        conv.weight.fill_(2.0)
        norm.weight.fill_(3.0)
        norm.bias.fill_(0.5)
        norm.running_mean.fill_(1.0)
        norm.running_var.fill_(4.0 - norm.eps)
    # (2 * 5 - 1) / 2 * 3 + 0.5
    assert conv_norm(torch.full((1, 1, 1, 1), 5.0), conv, norm).item() == (
        pytest.approx(14.0)
    )


@pytest.mark.parametrize("kind", ["frozen", "batch"])
@pytest.mark.parametrize("groups", [1, 4])
def test_fold_equals_eval_batch_norm_with_gradients(kind, groups):
    conv, norm = pair(kind, groups)
    norm.eval()
    x = images(2, 4, 7, 9).requires_grad_()
    parameters = [x, conv.weight] + ([norm.weight, norm.bias] * (kind == "batch"))
    upstream = images(2, 8, 4, 5, seed=3)
    folded, plain = conv_norm(x, conv, norm), norm(conv(x))
    torch.testing.assert_close(folded, plain, rtol=1e-5, atol=1e-5)
    got = torch.autograd.grad(folded, parameters, upstream)
    want = torch.autograd.grad(plain, parameters, upstream)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_batch_norm_in_training_uses_and_updates_batch_statistics():
    conv, norm = pair("batch")
    norm.train()
    plain = nn.BatchNorm2d(8)
    plain.load_state_dict(norm.state_dict())
    x = images(2, 4, 7, 9)
    torch.testing.assert_close(conv_norm(x, conv, norm), plain(conv(x)))
    torch.testing.assert_close(norm.state_dict(), plain.state_dict())
    assert norm.num_batches_tracked == 1


def test_frozen_convolution_builds_no_graph():
    conv, norm = pair("frozen")
    conv.requires_grad_(False)
    assert not conv_norm(images(1, 4, 5, 5), conv, norm).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zero_padding_equals_the_loop(dtype):
    x = (images(3, 2, 5, 6).abs() + 1).to(dtype)
    sizes = [(5, 6), (3, 1), (0, 4)]
    got = zero_padding(x, torch.tensor(sizes))
    want = torch.zeros_like(x)
    for i, (height, width) in enumerate(sizes):
        want[i, :, :height, :width] = x[i, :, :height, :width]
    assert got.dtype == dtype and torch.equal(got, want)
    assert zero_padding(x, None) is x


def test_zero_padding_keeps_the_memory_format_and_masks_the_gradient():
    x = images(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    sizes = torch.tensor([[2, 3], [4, 4]])
    out = zero_padding(x, sizes)
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.sum().backward()
    assert torch.equal(x.grad, zero_padding(torch.ones_like(x), sizes))
    assert zero_padding(torch.zeros(0, 3, 4, 4), sizes[:0]).shape == (0, 3, 4, 4)


def test_shrink_equals_the_sizes_torch_gives():
    heights = list(range(2, 20))
    for kernel, stride, padding, ceil in (
        (7, 2, 3, True),
        (3, 2, 1, True),
        (1, 2, 0, True),
        (3, 1, 1, True),
        (2, 2, 0, False),
    ):
        conv = nn.Conv2d(1, 1, kernel, stride, padding)
        want = [conv(torch.zeros(1, 1, h, 30)).shape[2:] for h in heights]
        sizes = shrink(torch.tensor([[h, 30] for h in heights]), stride, ceil=ceil)
        assert [torch.Size(row) for row in sizes.tolist()] == want
    assert shrink(None, 2) is None


def test_is_depthwise():
    assert is_depthwise(nn.Conv2d(8, 8, 3, groups=8))
    assert is_depthwise(nn.Conv2d(8, 16, 3, groups=8))
    assert not is_depthwise(nn.Conv2d(8, 8, 3, groups=4))
    assert not is_depthwise(nn.Conv2d(1, 8, 3))
    assert not is_depthwise(nn.Linear(8, 8))


def test_init_convs_keeps_the_scale_of_gradients():
    conv = nn.Conv2d(64, 128, 3)
    init_convs(conv)
    assert conv.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert torch.all(conv.bias == 0)


@pytest.mark.parametrize("name", BACKBONES)
def test_build_backbone_of_every_name(name):
    with torch.device("meta"):
        backbone = build_backbone(name, **OPTIONS)
    assert backbone.strides == (16,)
    trained = [p.requires_grad for p in backbone.parameters()]
    assert not trained[0] and any(trained)


def test_build_backbone_freezes_the_given_stages():
    with torch.device("meta"):
        none = build_backbone(
            "mobile_v2", **OPTIONS | {"norm": "batch", "fixed_blocks": 0}
        )
        caffe = build_backbone("res50", **OPTIONS | {"style": "caffe"})
    assert all(p.requires_grad for p in none.parameters())
    assert caffe.layer2[0].conv1.stride == (2, 2)
    assert not caffe.layer1[0].conv1.weight.requires_grad
    assert caffe.layer2[0].conv1.weight.requires_grad
    assert not caffe.layer2[0].bn1.weight.requires_grad


def test_unknown_name_lists_the_names_and_the_nearest():
    with pytest.raises(ValueError) as error:
        build_backbone("resnet50", **OPTIONS)
    assert all(name in str(error.value) for name in BACKBONES)
    assert "found 'resnet50'; did you mean res50?" in str(error.value)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("res18", "style", "tf", "style: expected pytorch or caffe, found 'tf'"),
        ("res18", "norm", "group", "norm: expected frozen or batch, found 'group'"),
        ("res18", "head_stride", 3, "head_stride: expected 1 or 2, found 3"),
        ("vgg16", "head_stride", 2, "head_stride: expected 1 for vgg16"),
        ("vgg16", "dropout", 1.0, "dropout: expected 0 <= dropout < 1, found 1.0"),
        ("res18", "fixed_blocks", 4, "fixed blocks: expected 0 to 3 for ResNet"),
    ],
)
def test_bad_options(name, key, value, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        build_backbone(name, **OPTIONS | {key: value})
