"""The layouts in which annotations are read: VOC, COCO, YOLO, or given by code."""
