#!/usr/bin/env python3
"""Run ``frcnn convert`` on the data/ and output/ of this checkout."""

from faster_rcnn.cli.main import door

if __name__ == "__main__":
    door("convert", __file__)
