"""A window on the desktop, if there is one."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np

from ..datasets.loading.channels import read_shown
from ..utils.closeable import Closeable
from ..utils.drawing import Picture

_TITLE = "q ends, other keys continue"
_ENDS = (ord("q"), 27)  # Esc


class Window(Closeable):
    """Show pictures until q or Esc is pressed.

    Raises:
        ValueError: this OpenCV has no windows, or there is no display.
    """

    def __init__(self) -> None:
        expect_display()

    def show(self, picture: Picture, *, wait: bool) -> bool:
        """Show a picture ``(H, W, 3)`` RGB; return whether to continue.

        Args:
            wait: whether to wait for a key, unlike in a video.
        """
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(_TITLE, np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)))
        while True:
            key = cv2.waitKey(50 if wait else 1) & 0xFF
            closed = cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1
            if key in _ENDS or closed:
                return False
            if key != 0xFF or not wait:
                return True

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()


def show_pictures(folder: Path) -> None:
    """Show the pictures of a folder, each until a key is pressed."""
    with Window() as window:
        for path in sorted(folder.rglob("*.jpg")):
            if not window.show(read_shown(path), wait=True):
                return


def expect_display() -> None:
    """Check that a window can be shown.

    Raises:
        ValueError: it cannot; the message says what to do.
    """
    instead = (
        "or leave out --show: --show-dir DIR writes the pictures, and frcnn demo "
        "CHECKPOINT --serve shows a page"
    )
    if not _has_windows():
        raise ValueError(
            "--show needs an OpenCV with windows, found one without "
            "(opencv-python-headless); pip uninstall opencv-python-headless, then pip "
            f"install opencv-python, {instead}"
        )
    here = sys.platform not in ("darwin", "win32")
    if here and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ValueError(
            "--show needs a display, found neither DISPLAY nor WAYLAND_DISPLAY; log in "
            f"with ssh -X, {instead}"
        )


def _has_windows() -> bool:
    lines = cv2.getBuildInformation().splitlines()
    gui = [line.split(":", 1)[1].strip() for line in lines if "GUI:" in line]
    return bool(gui) and gui[0] != "NONE"
