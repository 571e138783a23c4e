"""``python -m faster_rcnn.cli`` is ``frcnn``."""

from .main import main

if __name__ == "__main__":
    main()
