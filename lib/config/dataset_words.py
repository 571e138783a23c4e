"""Words that name a data set on the command line."""

WORDS: dict[str, tuple[str, str]] = {
    "shapes": ("shapes_train", "shapes_test"),
    "voc": ("voc_2007_trainval", "voc_2007_test"),
    "voc0712": ("voc_2007_trainval+voc_2012_trainval", "voc_2007_test"),
    "coco": ("coco_2017_train", "coco_2017_val"),
}
"""The training set and test set of each word of the command line."""
