"""Looking for faults in a data set before anything is trained on it.

In the order of the data: `sources` finds the sets, `voc`, `coco` and `yolo` read their
annotations without stopping at faults, `files` looks into the image files, `likeness`
compares pictures, `annotations` judges boxes and class names, `coverage` the anchors;
`report` brings it together, `text` and `page` show it, `fix` writes a cleaned copy.
"""
