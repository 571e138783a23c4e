"""Choices that parsers spell out, since the tables themselves import PyTorch."""

import pytest
from faster_rcnn.cli.arguments import check, convert, export
from faster_rcnn.datasets.checks.fix import LIKENESSES
from faster_rcnn.export.formats import FORMATS
from faster_rcnn.nets.normalisation import NORMALISATIONS


@pytest.mark.parametrize(
    ("module", "option", "table"),
    [
        (check, "--fix-alike", LIKENESSES),
        (convert, "--normalisation", NORMALISATIONS),
        (export, "--to", FORMATS),
    ],
)
def test_choices_are_those_of_the_table(module, option, table):
    (action,) = (
        action
        for action in module.build_parser()._actions
        if option in action.option_strings
    )
    assert tuple(action.choices) == tuple(table)
