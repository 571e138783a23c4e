from faster_rcnn.datasets.formats.coco_images import find_images


def test_names_that_lead_elsewhere(tmp_path):
    folder = tmp_path / "train"
    (folder / "sub").mkdir(parents=True)
    (folder / "other").mkdir()
    for name in (
        "a.jpg",
        "b.jpg",
        "c.jpg",
        "sub/a.jpg",
        "other/d.jpg",
        "sub/d.jpg",
        "sub/b2.jpg",
    ):
        (folder / name).touch()
    (tmp_path / "outside.jpg").touch()
    names = {
        "sub/a.jpg": "sub/a.jpg",
        "sub\\d.jpg": "sub/d.jpg",
        "train/other/d.jpg": "other/d.jpg",
        "train/b.jpg": "b.jpg",
        "../../exports/media/c.jpg": "c.jpg",
        "/mnt/c/other/train/sub/b2.jpg": "sub/b2.jpg",
        "../outside.jpg": None,
        "gone/a.jpg": None,  # which of both?
        "gone.jpg": None,
    }
    assert find_images(folder, list(names)) == list(names.values())
    assert find_images(tmp_path / "none", ["a.jpg"]) == [None]
