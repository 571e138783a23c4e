"""Open TensorBoard on a folder of runs."""

import argparse
from collections.abc import Sequence

from ..parser import Parser


class _AllWords(Parser):
    """A parser that accepts all words, ``--help`` too: TensorBoard reads them."""

    def parse_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        """Return ``prog`` and the words."""
        return argparse.Namespace(prog=self.prog, words=args)


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn tensorboard."""
    return _AllWords(prog=prog, description=__doc__)
