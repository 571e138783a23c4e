"""Prepare a checkpoint for publication: weights and their description, nothing else.

1. The averaged weights if there are any; no optimizer, no random states.
2. The configuration without paths on this machine.
3. Classes, normalisation, and the results of the run's tests.
4. A name with the first digits of the file's SHA-256, by which it can be verified.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import torch

from ...utils.files import write_atomic
from ..checkpoint import CheckpointError, detector_weights, load_checkpoint
from ..recognition import recognise_weights
from ..safetensors_files import safetensors_bytes
from ..stored_keypoints import KEY

_MOST = 1 << 24  # bytes of a results.json
DIGITS = 8


def published_state(
    checkpoint: Path, *, results: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the content of a file to publish, in the form of `load_checkpoint`.

    Args:
        results: figures by test set; if None, those that tests of this checkpoint left
            in its run's folder.

    Raises:
        CheckpointError: the checkpoint is incomplete, or a file of figures is invalid.
    """
    state = load_checkpoint(checkpoint)
    weights = detector_weights(state, averaged=True)
    content = {
        "format": state["format"],
        "iteration": state["iteration"],
        "config": without_places(state["config"]),
        "classes": list(state["classes"]),
        **({KEY: state[KEY]} if KEY in state else {}),
        "model": {key: value.contiguous() for key, value in weights.items()},
    }
    known = recognise_weights(content, str(checkpoint))  # complete, with known input
    figures = results_of_tests(checkpoint) if results is None else results
    return content | {
        "normalisation": known.normalisation,
        "metrics": {name: dict(figures[name]) for name in sorted(figures)},
        "averaged": "ema" in state,
    }


def write_published(
    content: Mapping[str, Any], folder: Path, name: str, *, kind: str = "safetensors"
) -> tuple[Path, str]:
    """Write ``<name>-<8 digits>.<kind>``, the same bytes each time; return its SHA-256.

    Args:
        content: of `published_state`.
        kind: ``safetensors``, or ``pth`` for a file of torch.save.
    """
    if kind == "safetensors":
        data = safetensors_bytes(content)
    else:
        stream = io.BytesIO()  # given a path, torch.save stores its name
        torch.save(dict(content), stream)
        data = stream.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{name}-{digest[:DIGITS]}.{kind}"
    write_atomic(path, data)
    return path, digest


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce the paths of a configuration to their last parts."""
    result = {section: dict(values) for section, values in config.items()}
    data, net = result.get("data", {}), result.get("net", {})
    data["root"] = "data"
    for key in ("train_set", "test_set", "val_set"):
        if isinstance(data.get(key), str):
            data[key] = "+".join(PurePath(part).name for part in data[key].split("+"))
    if isinstance(net.get("weights"), str):
        net["weights"] = PurePath(net["weights"]).name
    return result


def results_of_tests(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """Read the results of a checkpoint's tests, by test set; empty outside of a run.

    Raises:
        CheckpointError: a results file is damaged.
    """
    run = checkpoint.resolve().parent.parent
    files = sorted((run / "test").glob(f"*/{checkpoint.stem}/results.json"))
    return dict(map(read_results, files))


def read_results(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the test set and the results from a test's results.json.

    Raises:
        CheckpointError: it is not such a file.
    """
    try:
        if path.stat().st_size > _MOST:
            raise ValueError(f"more than {_MOST} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        starts = {"voc": "", "coco": "", "segm": "segm/", "keypoints": "keypoints/"}
        parts = [(start, found.get(name) or {}) for name, start in starts.items()]
        figures = {
            f"{start}{key}": round(value, 4)
            for start, part in parts
            for key, value in part.items()
            if isinstance(value, float) and key != "iou_threshold"
        }
        headline = found["headline"]["name"]
        images = found["counts"]["images"]
        return found["dataset"], {"headline": headline, "images": images, **figures}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: expected the results.json of a test, cannot read it ({error!r}); "
            "test the checkpoint again"
        ) from error
