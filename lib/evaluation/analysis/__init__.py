"""Error analysis of a data set's detections, and confidence intervals of its numbers.

matches         every detection judged: true, false, or not counted
precision       average precision of judged detections
error_costs     the average precision that each kind of error costs
score_analysis  best thresholds, confusion at these thresholds, calibration
breakdown       average precision by size and by shape of the objects
bootstrap       confidence intervals over draws of the images
comparison      significant differences of two results
doubtful_labels  labels that contradict what a detector is sure of
error_analysis  all of these in one object

hotcoco, which computes COCO's AP, has an error analysis too. On pycocotools' demo (100
images, 734 detections) its counts of all kinds of error and its calibration error are
equal; its costs differ by up to 0.015 AP, since it samples 101 recalls and matches by
COCO's rule (`tests/evaluation/analysis/test_analysis_hotcoco.py`). The code here stays
because hotcoco gives neither the kind of each detection (for the gallery), nor counts
by class, confusion at each class's own threshold, or intervals of each class; its
`compare` takes 32 s for 1000 draws of these images, ``compare_results`` 0.1 s (one
core); and its candidates for label errors lack loose boxes.
"""
