"""Run ``frcnn`` as ``python -m faster_rcnn.cli``."""

from .main import main

if __name__ == "__main__":
    main()
