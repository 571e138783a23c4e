"""Identify a file of weights, or convert it to a file of ours or of the family."""

import argparse

from ..config.recipes import find_recipes
from ..utils.printable import show
from ..weights.checkpoint import CheckpointError
from ..weights.class_names import read_classes
from ..weights.imported import ImportedWeights
from ..weights.recognition import import_weights
from ..weights.writing import export_family, save_backbone, save_detector
from .user_errors import clear_errors


def main(arguments: argparse.Namespace) -> None:
    """Recognise the weights, describe them, and convert them."""
    with clear_errors():
        weights = import_weights(
            arguments.file,
            normalisation=arguments.normalisation,
            norm_eps=arguments.norm_eps,
        )
        show(describe(weights))
        if arguments.output is not None:
            convert(weights, arguments)
            show(f"written: {arguments.output}")


def describe(weights: ImportedWeights) -> str:
    """Describe weights, one fact per line."""
    lines = [
        f"kind            {weights.kind}",
        f"net             {weights.full_net}",
        f"style           {weights.style or '-'}",
        f"normalisation   {weights.normalisation} ({weights.reason})",
    ]
    if weights.num_classes is not None:
        lines.append(f"classes         {weights.num_classes - 1} and background")
        lines.append(f"anchors         {weights.anchors} per cell")
    lines.append(f"tensors used    {weights.used}")
    lines += [f"not used        {key}: {why}" for key, why in weights.unused.items()]
    lines += [
        f"needs           {key} {value}" for key, value in weights.settings.items()
    ]
    return "\n".join(lines)


def convert(weights: ImportedWeights, arguments: argparse.Namespace) -> None:
    """Write the file that the arguments describe.

    Raises:
        CheckpointError: the weights cannot be written in this format, or names are
            missing.
    """
    if arguments.to == "family":
        export_family(weights, arguments.output)
    elif weights.classes is not None:
        raise CheckpointError(f"{weights.source} is already a checkpoint of ours")
    elif weights.num_classes is None:
        save_backbone(weights, arguments.output)
    else:
        classes = read_classes(
            arguments.classes, weights.num_classes, persons=weights.of_persons
        )
        known = {21: "voc", 81: "coco", 91: "coco"}
        dataset = arguments.dataset or known.get(len(classes), "")
        recipes = find_recipes(dataset, weights.full_net)
        save_detector(weights, arguments.output, recipes=recipes, classes=classes)
