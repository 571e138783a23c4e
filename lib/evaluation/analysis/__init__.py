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

hotcoco, which computes COCO's AP, has an error analysis of its own. On the 734
detections of pycocotools' demo (100 images, 80 classes) the counts of all six kinds of
error and the expected calibration error (ECE) are equal; 4 of 163 cells of the
confusion matrix differ, and the costs differ by up to 0.015 AP, because hotcoco samples
101 recalls and matches by COCO's rule. `hotcoco.compare` takes 32 s for 1000 draws of
these 100 images, and ``compare_results`` 0.1 s (one core). The code here stays because
hotcoco does not give the kind of each detection (for the gallery), counts by class,
confusion at each class's own threshold, or intervals of each class; the ECE then takes
15 lines, without a second matching. It has candidates for label errors, but none for
loose boxes, and ranks them by score alone.
`tests/evaluation/analysis/test_analysis_hotcoco.py` compares the two.
"""
