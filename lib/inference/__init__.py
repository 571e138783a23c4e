"""Turn predictions into results: postprocessing, augmentation, tests on a data set."""
