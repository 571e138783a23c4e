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
"""
