"""Static quantization: convolutions in int8, with ranges seen on photos.

Each quantized map is uint8 with a scale and a zero of its own; weights are int8 with a
scale per output channel (Jacob et al. 2018, sections 2 and 3).
"""

import contextlib
import io
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..detector.about import About
from ..detector.export_error import INSTALL, ExportError
from ..detector.file_inputs import Inputs

_LAYERS = ("Conv", "Gemm", "MatMul")
_FOLLOWING = frozenset(("Relu", "Clip", "MaxPool", "AveragePool", "Resize"))
"""Operators that pass on a feature map, and can do so in int8."""
_LAST_LAYERS = ("scores", "deltas")
"""Layers of the results: rounding would change scores and boxes."""
_FLOAT_FIRST = 7
"""Convolutions at the start that stay float, where 8 bits cost the most accuracy and
save the least time (docs/export.md)."""


class Quantized(NamedTuple):
    """Result of a quantization.

    Attributes:
        nodes: operators in int8, with their number.
        kept: names of the convolutions and matrix products that stay float32.
    """

    nodes: dict[str, int]
    kept: tuple[str, ...]


def quantize(
    source: Path, path: Path, batches: Iterable[Inputs], about: About
) -> Quantized:
    """Write an int8 form of an ONNX file, for the runtime of ``about.kind``.

    Feature maps and convolutions become int8, up to the RPN's hidden layer and in the
    head. The first convolutions, layers that give scores and deltas, anchors and boxes,
    RoI pooling, suppression and the normalisation of pixels stay float.

    ONNX Runtime computes in int8 where inputs and outputs are rounded. OpenVINO needs
    rounded inputs only: it rounds at the end of what comes before, such as a sum.

    Args:
        source: the ``.onnx`` file in float32.
        path: the file to write, in QDQ form.
        batches: some dozens of typical photos, for calibration.
        about: facts to store in the file.

    Raises:
        ExportError: onnxruntime is not installed.
    """
    try:
        import onnx
        import onnxruntime.quantization as tools
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ExportError(
            f"quantization needs onnx and onnxruntime; {INSTALL}"
        ) from error

    class Photos(tools.CalibrationDataReader):  # type: ignore[misc]
        """Yield the photos as arrays by name."""

        def __init__(self, names: set[str]) -> None:
            self.rest: Iterator[Inputs] = iter(batches)
            self.names = names

        def get_next(self) -> dict[str, Any] | None:
            inputs = next(self.rest, None)
            if inputs is None:
                return None
            fields = inputs._asdict().items()
            return {name: t.numpy() for name, t in fields if name in self.names}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        # Weights that are products of others are computed now.
        folded = Path(folder) / "folded.onnx"
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        graph = onnx.load(folded).graph
        inputs_only = about.kind == "openvino"
        chosen, kept = choose_nodes(graph, layers_only=inputs_only)
        tools.quantize_static(
            folded,
            path,
            Photos({value.name for value in graph.input}),
            nodes_to_quantize=chosen,
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            extra_options={
                # Mean of the photos' extremes: the one largest value of all would cost
                # everything else its precision.
                "CalibMovingAverage": True,
                "OpTypesToExcludeOutputQuantization": [*_LAYERS] if inputs_only else [],
            },
        )
    written = onnx.load(path)
    onnx.helper.set_model_props(written, {About.KEY: about.to_json()})
    onnx.save(written, path)
    kinds = Counter(node.op_type for node in graph.node if node.name in set(chosen))
    return Quantized(dict(kinds), tuple(kept))


def choose_nodes(
    graph: Any, *, layers_only: bool = False
) -> tuple[list[str], list[str]]:
    """Return the nodes to quantize, and the layers that stay float, by name.

    Args:
        graph: of an ONNX file.
        layers_only: quantize convolutions and matrix products only.
    """
    maps: set[str] = set()  # values that are feature maps
    constants = {value.name for value in graph.initializer}
    chosen: list[str] = []
    kept: list[str] = []
    layers = 0
    for node in graph.node:  # each comes after those that it reads
        if node.op_type in _LAYERS:
            if node.input[1] not in constants:
                continue
            layers += 1
            last = [name for name in node.input[1:] if _is_last_layer(name)]
            if layers <= _FLOAT_FIRST or last:
                kept.append(last[0].rpartition(".")[0] if last else node.name)
                continue
            reads_maps = True
        elif layers_only:
            continue
        elif node.op_type in _FOLLOWING:
            reads_maps = node.input[0] in maps
        elif node.op_type == "Add":
            reads_maps = maps.issuperset(node.input)
        elif node.op_type == "Mul":  # with the mask of padding
            reads_maps = not maps.isdisjoint(node.input)
        else:
            reads_maps = False
        if reads_maps:
            chosen.append(node.name)
            maps.update(node.output)
    return chosen, kept


def _is_last_layer(name: str) -> bool:
    parts = name.split(".")
    return len(parts) > 1 and parts[-2] in _LAST_LAYERS


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the output and log of the tools."""
    level, handlers = logging.root.level, list(logging.root.handlers)
    logging.root.setLevel(logging.ERROR)
    try:
        # The tools divide by a range of 0 before they replace it.
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(invalid="ignore"):
            yield
    finally:
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers  # the tools add one
