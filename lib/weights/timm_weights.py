"""Weights of timm's nets: downloaded by timm, or from a file.

The names in a file are timm's, or those of a program that timm's own filter for the net
knows (the original ConvNeXt and Swin), or EfficientNet-PyTorch's.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..config.net_settings import TIMM
from ..datasets.records import few
from ..nets import Backbone
from ..utils.shape_only import shape_only
from .checkpoint import CheckpointError
from .imported import ImportedWeights
from .recognition import read_file, recognise_weights, unwrap

_WRAPPERS = ("", "model.", "body.")  # before a key of the whole net
_LITE = {
    **{"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head"},
    **{"_bn1": "bn2", "_fc": "classifier"},
}
# EfficientNet-PyTorch's layers of a block, with and without expansion.
_BLOCK = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"},
    **{"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"},
    **{"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"},
}
_FIRST_BLOCK = _BLOCK | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def fetch_timm(backbone: Backbone, net: str, word: str) -> ImportedWeights:
    """Fetch pretrained weights with timm, which keeps them in Hugging Face's cache.

    Args:
        word: ``timm/`` and the name of a model; its tag chooses among several weights.

    Raises:
        CheckpointError: timm has none, or they cannot be fetched; the message says what
            to do.
    """
    import timm

    name = word.removeprefix(TIMM)
    tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    published = None
    if name in tagged or (tagged and "." not in name):
        published = timm.get_pretrained_cfg(name)
    if published is None or not published.has_weights:
        raise CheckpointError(
            f"timm has no pretrained weights {name} (it has "
            f"{', '.join(tagged) or 'none'}); train with --weights FILE or --weights "
            "none"
        )
    try:
        state = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        # The hub's clients raise errors of several libraries.
        page = f"https://huggingface.co/{published.hf_hub_id}"
        page = page if published.hf_hub_id else published.url
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise CheckpointError(
            f"timm could not fetch the weights of {word} ({reason}). Connect to "
            f"the internet; or download {page} (model.safetensors) elsewhere, and give "
            "the file by --weights FILE; or train with --weights none"
        ) from error
    return _of_backbone(backbone, net, state, f"timm's {name}", "pretrained weights")


def read_timm(backbone: Backbone, net: str, path: Path) -> ImportedWeights:
    """Read a file of weights for a net of timm: a classifier's, or our checkpoint.

    Raises:
        CheckpointError: the file cannot be read, or has other tensors than the net.
    """
    import timm

    content = read_file(path)
    if "format" in content:
        return recognise_weights(content, str(path))
    tensors, _ = unwrap(content)
    with shape_only():
        whole = timm.create_model(net.removeprefix(TIMM))
    kind, keys = "named as in timm", whole.state_dict().keys()
    if "_conv_stem.weight" in tensors:
        kind = "named as in EfficientNet-PyTorch"
        tensors = _from_efficientnet(tensors, keys)
    elif not tensors.keys() <= keys:
        module = sys.modules[type(whole).__module__]
        convert = getattr(module, "checkpoint_filter_fn", None)
        tensors = tensors if convert is None else convert(tensors, whole)
    unknown = tensors.keys() - keys
    if unknown:
        raise CheckpointError(
            f"{path} does not fit {net}: {len(unknown)} of its {len(tensors)} tensors "
            f"are unknown to timm's net ({few(sorted(unknown))}); give weights of {net}"
        )
    return _of_backbone(backbone, net, tensors, str(path), kind)


def _from_efficientnet(
    tensors: Mapping[str, Tensor], keys: Iterable[str]
) -> dict[str, Tensor]:
    """Rename EfficientNet-PyTorch's tensors; it numbers blocks through all stages."""
    matches = (re.match(r"blocks\.\d+\.\d+\.", key) for key in keys)
    blocks = list(dict.fromkeys(match[0] for match in matches if match))
    renamed = {}
    for key, tensor in tensors.items():
        layer, _, part = key.rpartition(".")
        name = _LITE.get(layer, layer)
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
        if block and int(block[1]) < len(blocks):
            plain = f"_blocks.{block[1]}._expand_conv.weight" not in tensors
            names = _FIRST_BLOCK if plain else _BLOCK
            name = blocks[int(block[1])] + names.get(block[2], block[2])
        renamed[f"{name}.{part}"] = tensor
    return renamed


def _of_backbone(
    backbone: Backbone, net: str, tensors: Mapping[str, Tensor], source: str, kind: str
) -> ImportedWeights:
    """Take a backbone's tensors out of those of the whole net, by timm's names."""
    own = backbone.state_dict()
    state, unused = {}, {}
    for key, tensor in tensors.items():
        names = [f"net.{start}{key}" for start in _WRAPPERS]
        names.append(f"net.{key.replace('.', '_', 1)}")
        name = next((name for name in names if name in own), None)
        if name is None:
            unused[key] = "behind the maps that a detector uses"
        else:
            state[f"backbone.{name}"] = (
                tensor.float() if tensor.is_floating_point() else tensor
            )
    counters = [key for key in own if key.endswith("num_batches_tracked")]
    for key in counters:
        state.setdefault(f"backbone.{key}", torch.tensor(0))
    return ImportedWeights(
        source=source,
        kind=f"weights of {net} {kind}",
        net=net,
        style=None,
        normalisation="auto",
        reason="recorded in timm",
        state=state,
        unused=unused,
        used=len(state),
    )
