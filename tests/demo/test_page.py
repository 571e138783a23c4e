"""The page in headless Chromium, with pictures uploaded from disk."""

import json
import threading

import cv2
import numpy as np
import pytest
from bombs import bomb
from fake_detector import LIMB
from faster_rcnn.demo.server import DemoServer
from faster_rcnn.utils.drawing import class_color
from PIL import Image

pytestmark = pytest.mark.browser


@pytest.fixture
def page_of(browser, tmp_path):
    """Opens the page of a detector; its downloads go to the folder `downloads`."""
    servers = []

    def page_of(detector):
        server = DemoServer(detector, name="a.pth", port=0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        servers.append((server, thread))
        thread.start()
        browser.call(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(tmp_path / "downloads"),
        )
        browser.look(1200, 800)
        browser.open(server.url)
        browser.wait("info !== null")
        browser.problems.clear()
        return browser

    yield page_of
    browser.open("about:blank")
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def page(page_of, detector):
    return page_of(detector)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "<i>photo.jpg"
    cv2.imwrite(str(path), np.full((60, 80, 3), 200, np.uint8))
    return path


def upload(page, path):
    page.upload("#file", path)
    page.wait(f"found !== null && file.name === {path.name!r}")


def labels(page):
    return page.run("[...at('boxes').children].map(box => box.textContent)")


def downloaded(tmp_path, name):
    path = tmp_path / "downloads" / name
    while not path.exists():  # the browser renames it when it is whole
        threading.Event().wait(0.01)
    return path


def test_boxes_threshold_classes_and_json(page, photo, tmp_path):
    assert page.run("at('about').textContent") == "a.pth: cat, dog <b>"
    assert page.run("at('threshold').disabled && at('view').hidden")
    upload(page, photo)
    assert labels(page) == ["cat 0.75"]
    # A box lies on the picture where the detector found it.
    measures = """(() => {
      const [box, picture] = [at('boxes').children[0], at('picture')].map(
        element => element.getBoundingClientRect());
      return [box.left - picture.left, box.top - picture.top,
        box.width / picture.width, box.height / picture.height];
    })()"""
    np.testing.assert_allclose(page.run(measures), [0, 0, 0.5, 1], atol=0.01)
    # The slider by its keys, down to what the server tells at all.
    page.run("at('threshold').focus()")
    page.press("Home", 36)
    assert page.run("at('value').textContent") == "0.05"
    assert labels(page) == ["cat 0.75", "dog <b> 0.25"]
    cells = "[...at('rows').rows].map(row => [...row.cells].map(c => c.textContent))"
    assert page.run(cells) == [
        [" cat", "0.750", "0", "0", "40", "60"],
        [" dog <b>", "0.250", "40", "0", "80", "30"],
    ]
    page.run("at('rows').rows[1].dispatchEvent(new PointerEvent('pointerenter'))")
    assert page.run("[...at('boxes').children].map(box => box.className)") == [
        "box dim",
        "box lit",
    ]
    # A class is put away, and back, from the keyboard.
    page.run("at('classes').children[0].focus()")
    page.press(" ", 32)
    assert labels(page) == ["dog <b> 0.25"]
    assert page.run("document.activeElement.ariaPressed") == "false"
    page.press(" ", 32)
    assert len(labels(page)) == 2
    page.press(" ", 32)
    shown = json.loads(page.run("at('json').textContent"))
    assert shown["source"] == photo.name and shown["threshold"] == 0.05
    assert [each["name"] for each in shown["detections"]] == ["dog <b>"]
    page.run("at('save-json').click()")
    assert json.loads(downloaded(tmp_path, "_i_photo.json").read_text()) == shown
    page.run("at('save-picture').click()")
    drawn = cv2.imread(str(downloaded(tmp_path, "_i_photo-detections.png")))
    assert drawn.shape == (60, 80, 3) and (drawn != 200).any()
    assert page.problems == []


def test_masks_and_keypoints(detector, page_of, photo, tmp_path):
    detector.keypoints = LIMB
    page = page_of(detector)
    upload(page, photo)
    page.run("at('threshold').value = 0.05; render()")

    def pixel(x, y):
        return page.run(
            f"[...at('overlay').getContext('2d').getImageData({x}, {y}, 1, 1).data]"
        )

    (cat, dog) = (list(class_color(label)) for label in (1, 2))
    np.testing.assert_allclose(pixel(10, 45), [*cat, 110], atol=3)  # inside
    assert pixel(19, 45) == [*cat, 255]  # its edge
    np.testing.assert_allclose(pixel(45, 20), [*dog, 110], atol=3)
    assert pixel(70, 50) == [0, 0, 0, 0]
    assert pixel(28, 43)[3] > 200  # the limb of the cat
    assert page.run("at('json').textContent").count('"counts"') == 2
    # A class that is put away takes its masks along.
    page.run("off.add(1); render()")
    assert pixel(10, 45) == [0, 0, 0, 0]
    page.run("at('save-picture').click()")
    drawn = cv2.imread(str(downloaded(tmp_path, "_i_photo-detections.png")))
    assert (drawn[20, 45] != 200).any() and (drawn[10, 10] == 200).all()
    assert page.problems == []


def test_labels_of_a_crowd_lie_apart(page):
    rows = [[20 + 9 * i, 90 + 7 * i, 44 + 9 * i, 116 + 7 * i] for i in range(8)]
    places = page.run(f"labelPlaces({rows}, Array(8).fill([45, 15]), 240, 200)")
    for i, (left, top) in enumerate(places):
        assert 0 <= left <= 195 and 0 <= top <= 185
        for x, y in places[:i]:
            assert abs(x - left) >= 45 or abs(y - top) >= 15


def test_turned_pictures(page, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (80, 60)).save(path, exif=exif)
    upload(page, path)
    assert page.run("[found.width, found.height]") == [60, 80]
    natural = "[at('picture').naturalWidth, at('picture').naturalHeight]"
    assert page.run(natural) == [60, 80]


def test_dropping_and_pasting(page):
    """Files that the browser hands over are made in the page; the rest is real."""
    make = """(async kind => {
      const canvas = made("canvas");
      const blob = await new Promise(done => canvas.toBlob(done));
      const data = new DataTransfer();
      data.items.add(new File([blob], `${kind}.png`, {type: "image/png"}));
      dispatchEvent(kind === "drop" ? new DragEvent(kind, {dataTransfer: data})
        : new ClipboardEvent(kind, {clipboardData: data}));
    })"""
    for kind in ("drop", "paste"):
        page.run(f"{make}({kind!r})")
        page.wait(f"found !== null && file.name === '{kind}.png'")
        assert labels(page) == ["cat 0.75"]


def test_problems_are_shown(page, photo, tmp_path):
    upload(page, photo)
    text, large, huge = (tmp_path / n for n in ("text.jpg", "large.jpg", "huge.png"))
    text.write_text("no picture")
    with large.open("wb") as file:
        file.truncate((32 << 20) + 1)
    huge.write_bytes(bomb(9000, 9000))
    for path, problem in (
        (text, "text.jpg: expected a picture (JPEG, PNG, WEBP, BMP), found 10 bytes"),
        (large, "large.jpg: expected at most 32 MiB, found 32.0"),
        (huge, "huge.png: expected at most 50 million pixels, found 9000 x 9000"),
    ):
        page.upload("#file", path)
        page.wait("!at('problem').hidden")
        assert page.run("at('problem').textContent").startswith(problem)
        assert page.run("at('problem').role") == "alert"
        assert labels(page) == [] and page.run("at('save-json').disabled")
        page.upload("#file", photo)
        page.wait("found !== null")
        assert page.run("at('problem').hidden")


def test_keys_reach_everything(page, photo):
    upload(page, photo)
    reached = []
    page.run("document.activeElement.blur()")
    for _ in range(12):
        page.press("Tab", 9)
        name = "document.activeElement.id || document.activeElement.className"
        reached.append(page.run(name) or page.run("document.activeElement.tagName"))
    for name in ("file", "threshold", "chip", "save-picture", "save-json", "copy-json"):
        assert name in reached, reached
    assert "SUMMARY" in reached


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_is_read_in_light_and_dark_on_any_width(page, photo, dark, width):
    page.look(width, 800, dark=dark)
    upload(page, photo)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.run("body = getComputedStyle(document.body)")
    colors = page.run("[body.color, body.backgroundColor]")
    ink, paper = (sum(map(int, color[4:-1].split(","))) for color in colors)
    assert (ink > paper) == dark and abs(ink - paper) > 400
    assert page.problems == []


def test_nothing_is_loaded_from_elsewhere(page, photo):
    upload(page, photo)
    names = page.run("performance.getEntriesByType('resource').map(each => each.name)")
    own = page.run("location.origin")
    assert names and all(
        name.startswith((own, f"blob:{own}", "data:")) for name in names
    )
    # Nor could it be, or run what is not its own.
    refused = """(kind, settings) => new Promise(done => {
      addEventListener("securitypolicyviolation",
        event => done(event.effectiveDirective), {once: true});
      document.body.append(Object.assign(made(kind), settings));
    })"""
    for kind, settings, directive in (
        ("script", {"textContent": "window.foreign = 1"}, "script-src-elem"),
        ("img", {"src": "http://localhost:1/"}, "img-src"),
        ("iframe", {"src": "http://localhost:1/"}, "frame-src"),
    ):
        call = f"({refused})({kind!r}, {json.dumps(settings)})"
        assert page.run(call) == directive
    assert page.run("window.foreign === undefined")
