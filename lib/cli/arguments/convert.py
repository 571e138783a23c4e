"""Identify a file of weights, or convert it to a file of ours or of the family.

The command reads checkpoints of this program, detectors of tf-faster-rcnn's PyTorch
port, of torchvision, Detectron and Detectron2, and classification weights of
torchvision, Caffe and Caffe2.
"""

from pathlib import Path

from ..parser import Parser


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn convert."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help=".pth or .pkl")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write")
    parser.add_argument(
        "--to",
        default="ours",
        choices=("ours", "family"),
        help="write for this program, or for tf-faster-rcnn's PyTorch port",
    )
    parser.add_argument(
        "--normalisation",
        choices=("torchvision", "caffe", "detectron2"),
        help="the input that the weights expect, if known; default: recognised",
    )
    parser.add_argument(
        "--norm-eps",
        type=float,
        metavar="NUMBER",
        help="epsilon of the backbone's norms in training, if known; 0 for weights "
        "fine-tuned from torchvision's own fasterrcnn_resnet50_fpn",
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES|FILE",
        help="names without background, separated by commas or one per line of a file; "
        "default: VOC's for 20, COCO's for 80, or 90 with the gaps of its ids",
    )
    parser.add_argument(
        "--dataset",
        choices=("voc", "coco"),
        help="data set whose recipes to store with a detector; default: by the classes",
    )
    return parser
