"""Average precision, and the files of detections and results."""
