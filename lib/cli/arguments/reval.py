"""Evaluate saved detections again, without the network.

%(prog)s voc output/.../test/voc_2007_test/iter_0070000 --iou 0.5:0.95
%(prog)s instances_val2017.json results.json --classes person dog
"""

import argparse
from pathlib import Path

from ..parser import Parser, count
from ..roots import data_root
from .evaluation import RULES, add_evaluation_arguments, iou_list
from .results import add_export


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn reval."""
    summary, _, examples = (__doc__ or "").partition("\n\n")
    parser = Parser(
        prog=prog,
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "dataset",
        metavar="DATASET",
        help="a word or folder as for frcnn test, a set's name, or COCO's "
        "instances_*.json",
    )
    add(
        "source",
        metavar="RESULTS",
        type=Path,
        help="detections.json or its folder, another COCO result list, a folder of VOC "
        "result files, or proposals.npz",
    )
    add(
        "--root",
        type=Path,
        default=data_root(),
        help="folder of the data sets; default: %(default)s",
    )
    splits = ("train", "trainval", "val", "test")
    add("--split", default="test", choices=splits, help="default: test")
    add_evaluation_arguments(parser)
    add("--rules", nargs="+", choices=RULES, help="default: those of the data set")
    add("--iou", type=iou_list, metavar="LIST", help="such as 0.3,0.5 or 0.5:0.95")
    add(
        "--max-dets",
        type=count,
        metavar="N",
        help="best detections of an image and class that COCO's numbers consider; "
        "default: --max if that is over 100, else COCO's 100, and 20 for keypoints",
    )
    add(
        "--areas",
        nargs=2,
        type=float,
        metavar="PX",
        help="sides of the squares between COCO's small, medium and large objects; "
        "default: 32 96",
    )
    add(
        "--sigmas",
        nargs="+",
        type=float,
        metavar="S",
        help="spread of each keypoint for OKS, or one for all; default: COCO's for 17 "
        "keypoints, else 0.05",
    )
    _add_selection(parser.add_argument_group("selection of detections (in this order)"))
    _add_output(parser.add_argument_group("output"))
    return parser


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--classes", nargs="+", metavar="NAME", help="no others")
    group.add_argument("--score", type=float, metavar="S", help="keep scores above S")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--nms", type=float, metavar="IOU", help="suppress above IOU")
    one.add_argument(
        "--soft-nms", type=float, metavar="SIGMA", help="Soft-NMS, Gaussian decay"
    )
    one.add_argument(
        "--soft-nms-linear", type=float, metavar="IOU", help="Soft-NMS, linear decay"
    )
    group.add_argument("--max", type=count, metavar="N", help="keep N per image")


def _add_output(group: argparse._ArgumentGroup) -> None:
    for option, metavar, text in (
        ("--results", "FILE", "numbers as JSON"),
        ("--curves", "FILE", "VOC's curves as CSV"),
        ("--report", "FOLDER", "report.html and errors.json"),
        ("--earlier", "FOLDER", "folder of another test to compare with in the report"),
        (
            "--label-errors",
            "FOLDER",
            "labels.html: labels that are likely missing, wrong or loose, in the light "
            "of what a good detector finds",
        ),
        ("--save", "FILE", "detections as COCO results of all tasks, or a .csv"),
        ("--save-voc", "FOLDER", "VOC's files"),
    ):
        group.add_argument(option, type=Path, metavar=metavar, help=text)
    group.add_argument(
        "--upload",
        nargs=2,
        metavar=("FOLDER", "ALGORITHM"),
        help="the archive for COCO's evaluation server",
    )
    add_export(group, "with --label-errors, write its images and boxes to it")
