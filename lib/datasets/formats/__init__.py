"""Readers of annotations: VOC, COCO, YOLO, and data sets given in code."""
