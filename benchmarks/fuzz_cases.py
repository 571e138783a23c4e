"""Generate damaged files; a case's number determines its bytes.

A case damages the bytes, the parts (in a zip archive with valid checksums) or the
content of a valid file (checkpoint, weights of another program, settings, image).
"""

import functools
import io
import itertools
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from faster_rcnn.config.loading import load_config
from faster_rcnn.model.build import build_detector
from faster_rcnn.nets.normalisation import NORMALISATIONS
from faster_rcnn.weights.checkpoint import FORMAT
from PIL import Image

RECIPES = Path(__file__).resolve().parents[1] / "experiments" / "cfgs"
HUGE = (0, -1, 10**5, 10**9, 2**31 - 1, 2**32, 10**12, 2**63 - 1, 2**64, 10**30)


class FuzzCase(NamedTuple):
    """A file to read.

    Attributes:
        kind: kind of the original file: checkpoint, weights, config or image.
        name: file name.
        data: content.
    """

    kind: str
    name: str
    data: bytes


def make_case(number: int) -> FuzzCase:
    """Generate the case with a given number."""
    rng = random.Random(number)
    kinds = (_checkpoint, _weights, _config, _image)
    kind = rng.choices(kinds, weights=(4, 2, 2, 3))[0]
    case = kind(rng)
    # Some of all kinds are damaged in their bytes as well, or in these alone.
    if rng.random() < 0.3:
        case = case._replace(data=damage(rng, case.data))
    return case


def damage(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, repeat, zero or exchange bytes, mostly near the start or end."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        if not result:
            break
        reach = rng.choice((64, 1024, len(result)))
        at = rng.randrange(min(reach, len(result)))
        at = rng.choice((at, len(result) - 1 - at))
        length = rng.choice((1, 4, 16, 300))
        match rng.randrange(6):
            case 0 | 1:
                result[at] ^= 1 << rng.randrange(8)
            case 2:
                del result[at:]
            case 3:
                result[at : at + length] = rng.randbytes(length)
            case 4:
                result[at:at] = result[at : at + length]
            case 5:
                result[at : at + 4] = rng.choice((b"\xff" * 4, b"\x7f\xff\xff\xff"))
    return bytes(result)


@functools.cache
def sound_state() -> dict[str, Any]:
    """Return a small detector's checkpoint, whose weights have one element each."""
    config = load_config([], ["net.name", "mobile_v2", "rpn.channels", "8"])
    with torch.device("meta"):
        shapes = build_detector(config, 3).state_dict()
    model = {key: torch.ones(()).expand(one.shape) for key, one in shapes.items()}
    values = NORMALISATIONS["torchvision"]
    for key, value in zip(("pixel_mean", "pixel_std"), values, strict=True):
        model[key] = torch.tensor(value)[:, None, None]
    return {
        "format": FORMAT,
        "iteration": 7,
        "config": config.model_dump(mode="json"),
        "classes": ["__background__", "cat", "dog"],
        "model": model,
    }


def saved(content: Any, *, zipped: bool = True) -> bytes:
    """Return the bytes that torch.save writes."""
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


@functools.cache
def _sound_file(full: bool) -> bytes:
    state = sound_state()
    if full:
        state = state | {"model": {k: v.clone() for k, v in state["model"].items()}}
    return saved(state)


def odd_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a value of the wrong type or size."""
    nested: Any = 1
    for _ in range(rng.choice((3, 40, 200))):
        nested = [nested]
    shape = rng.choice(((0,), (3, 4), (10**5, 10**5), (10**9,), (2**40, 0)))
    choices: list[Callable[[], Any]] = [
        lambda: rng.choice(HUGE),
        lambda: rng.choice((None, True, "", "x" * 10**5, b"\0" * 99, 1e308, -0.0)),
        lambda: float("nan"),
        lambda: nested,
        lambda: torch.zeros(()).expand(shape),
        lambda: torch.ones(2, dtype=rng.choice((torch.int8, torch.complex64))),
        lambda: ["same"] * rng.choice((0, 3, 10**6)),
        lambda: dict.fromkeys((1, None, "a", (2, 3)), 1),
        lambda: torch.eye(3).to_sparse(),
        lambda: {1, 2},
    ]
    if depth < 2:
        choices.append(lambda: [odd_value(rng, depth + 1) for _ in range(3)])
    return rng.choice(choices)()


def _checkpoint(rng: random.Random) -> FuzzCase:
    name = "checkpoint.pth"
    way = rng.randrange(6)
    if way == 0:
        return FuzzCase(
            "checkpoint", name, damage(rng, _sound_file(rng.random() < 0.3))
        )
    if way in (1, 2):
        return FuzzCase("checkpoint", name, _other_parts(rng, _sound_file(False)))
    state = sound_state()
    target = state
    if way == 3:
        section = rng.choice(list(state["config"]))
        values = dict(state["config"][section])
        state = state | {"config": state["config"] | {section: values}}
        target = values
    elif way == 4:
        target = dict(state["model"])
        state = state | {"model": target}
    else:
        state = target = dict(state)
    for _ in range(rng.choice((1, 1, 3))):
        key, other = rng.choice(list(target)), rng.choice(list(target))
        match rng.randrange(4):
            case 0:
                target[key], target[other] = target[other], target[key]
            case 1 if len(target) > 1:
                del target[key]
            case _:
                target[key] = odd_value(rng)
    zipped = rng.random() < 0.8
    return FuzzCase("checkpoint", name, saved(state, zipped=zipped))


def _other_parts(rng: random.Random, data: bytes) -> bytes:
    """Damage, exchange or compress parts of an archive, with valid checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    names = list(parts)
    pickled = next(name for name in names if name.endswith("data.pkl"))
    way = rng.randrange(5)
    if way in (0, 1):
        parts[pickled] = damage(rng, parts[pickled])
    elif way == 2:
        one, other = rng.sample(names, 2)
        parts[one], parts[other] = parts[other], parts[one]
    elif way == 3:
        del parts[rng.choice(names)]
    packed = way == 4
    if packed:
        parts[rng.choice(names)] = bytes(10**7)
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind, compresslevel=1) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _weights(rng: random.Random) -> FuzzCase:
    """Generate state dicts and pickles of arrays."""
    if rng.random() < 0.5:
        state = dict(list(sound_state()["model"].items())[: rng.choice((5, 400))])
        state = {key.removeprefix("backbone."): value for key, value in state.items()}
        data = saved({"state_dict": state}, zipped=rng.random() < 0.5)
        return FuzzCase("weights", "weights.pth", damage(rng, data))
    arrays = {f"w{i}": np.full((3, i), i, np.float32) for i in range(1, 6)}
    content = {"model": arrays, "author": "x", "number": rng.choice(HUGE)}
    data = pickle.dumps(content, protocol=rng.randrange(2, 6))
    if rng.random() < 0.2:  # an entry of the reader's memory beyond all bounds
        data = data[:-1] + b"r" + struct.pack("<I", 2**30) + b"."
    return FuzzCase("weights", "weights.pkl", damage(rng, data))


def _config(rng: random.Random) -> FuzzCase:
    text = rng.choice(_recipes())
    match rng.randrange(6):
        case 0:
            text = "a: &a [x]\n" + "".join(
                f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
                for before, after in itertools.pairwise(
                    "abcdefghij"[: rng.choice((3, 10))]
                )
            )
        case 1:
            text += f"\ntrain: {'[' * rng.choice((5, 500, 10**5))}"
        case 2:
            text += f"\nrpn: {{channels: {rng.choice(HUGE)}}}\n"
        case 3:
            section = rng.choice(("net", "anchors", "data", "train", "pooling", "test"))
            key = rng.choice(("name", "scales", "size", "classes", "short_sides", "lr"))
            odd = ("!!binary aGk=", "[1, .nan]", "2001-02-30", "*none", "~", "!!int x")
            text += f"\n{section}: {{{key}: {rng.choice((*odd, *map(str, HUGE)))}}}\n"
        case 4:
            words = text.split()
            for _ in range(3):
                words[rng.randrange(len(words))] = str(rng.choice(HUGE))
            text = text.replace(rng.choice(words), rng.choice(words))
    data = text.encode()
    return FuzzCase(
        "config", "recipe.yml", damage(rng, data) if rng.random() < 0.5 else data
    )


@functools.cache
def _recipes() -> list[str]:
    return [path.read_text("utf-8") for path in sorted(RECIPES.glob("*.yml"))]


@functools.cache
def _images() -> dict[str, bytes]:
    rows, columns = np.mgrid[:45, :60]
    pixels = np.stack([rows * 5, columns * 4, rows + columns], 2).astype(np.uint8)
    result = {
        suffix: cv2.imencode(suffix, pixels)[1].tobytes()
        for suffix in (".jpg", ".png", ".bmp", ".webp", ".tif")
    }
    for suffix, options in (
        (".progressive.jpg", {"format": "JPEG", "progressive": True}),
        (".palette.png", {"format": "PNG"}),
        (".packed.tif", {"format": "TIFF", "compression": "tiff_lzw"}),
    ):
        stream = io.BytesIO()
        picture = Image.fromarray(pixels)
        picture = picture.convert("P") if "palette" in suffix else picture
        picture.save(stream, **options)
        result[suffix] = stream.getvalue()
    return result


def _image(rng: random.Random) -> FuzzCase:
    suffix = rng.choice(list(_images()))
    data = bytearray(_images()[suffix])
    if rng.random() < 0.4:
        width, height = rng.choices((0, 1, 100_000, 65_535, 20_000, 2**31 - 1), k=2)
        if suffix.endswith(".png"):
            data[16:24] = struct.pack(">II", width, height)
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        elif suffix.endswith(".bmp"):
            data[18:26] = struct.pack("<II", width, height)
        elif suffix.endswith(".jpg"):
            start = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
            sides = height & 0xFFFF, width & 0xFFFF
            data[start + 5 : start + 9] = struct.pack(">HH", *sides)
        else:
            data = bytearray(damage(rng, bytes(data)))
        return FuzzCase("image", f"image{suffix}", bytes(data))
    return FuzzCase("image", f"image{suffix}", damage(rng, bytes(data)))
