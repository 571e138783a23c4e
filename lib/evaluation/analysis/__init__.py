"""Error analysis of a data set's detections, and confidence in its numbers.

overlaps     the object that each detection overlaps most
matches      every detection judged: true, false, or not counted
precision    average precision from judged detections
errors       the average precision that each kind of error costs
confusion    which classes are confused with which
calibration  whether scores are probabilities
thresholds   the score that separates best, by class
breakdown    average precision by size and by shape of the objects
bootstrap    confidence intervals over draws of the images
comparison   which differences of two results are more than chance
summary      all of these in one object

hotcoco, which computes COCO's AP, has error analysis of its own. On 300 drawn images
with 6000 detections the expected calibration error is equal to the last digit, and so
are the counts of four kinds of error of six; two detections are background here and
localisation there. Costs differ by up to 0.006 AP: hotcoco samples 101 recalls and
matches by COCO's rule, where the rule here is VOC's. What keeps the code
here is what hotcoco does not give: the kind of each detection (for the report's
pictures), counts by class, confusion at each class's own threshold, and intervals for
each class. `tests/evaluation/analysis/test_analysis_hotcoco.py` compares the two.
"""
