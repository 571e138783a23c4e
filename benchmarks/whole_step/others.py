"""detectron2's and mmdetection's detectors, where they can be imported.

Each is its own recipe for R50-C4, R101-C4 or R50-FPN, with the counts of the work:
images that are not resized, proposals, RoIs, samples of a bin, classes and random
weights. mmdet's outputs are spread as ours are; detectron2's are not, so that it has
next to nothing to suppress.
"""

from .detectron2_peer import detectron2_step
from .mmdet_peer import mmdet_step

OTHERS = {"detectron2": detectron2_step, "mmdet": mmdet_step}
