"""What a data set's detections get wrong, and how sure the numbers are.

overlaps     the object that each detection overlaps most
matches      every detection judged: true, false, or not counted
precision    average precision from judged detections
errors       the average precision that each kind of error costs
confusion    which class is taken for which
calibration  whether a score is a probability
thresholds   the score that separates best, by class
breakdown    average precision by size and by shape of the objects
bootstrap    how far the numbers would move with other images
comparison   which differences of two results are more than chance
summary      all of it in one object
"""
