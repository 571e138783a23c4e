"""The report in a browser: it loads without a word, sorts, filters, enlarges."""

import pytest

pytestmark = pytest.mark.browser

# One start of the browser tries everything, since that takes seconds.
DRIVE = """
const cards = () => all("#cards .card").filter(card => !card.hidden).length;
const choose = (id, value) => {
  const select = document.querySelector(id);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const column = n => all("#classes tbody tr").map(row => row.cells[n].textContent);
const heads = all("#classes th button");
const sorted = () => heads[4].parentNode.getAttribute("aria-sort");

out.images = all("#cards img").length;
out.boxes = all("#cards rect").length;
out.title = document.querySelector("#cards rect.main title").textContent;

heads[4].click();
out.down = [sorted(), column(0)];
heads[4].click();
out.up = [sorted(), column(0)];
heads[0].click();
out.names = [heads[0].parentNode.ariaSort, sorted(), column(0)];

out.all = cards();
choose("#class", "dog");
out.dog = cards();
out.marked = all("tr.on").map(row => row.cells[0].textContent);
choose("#kind", "missed");
out.dogMissed = cards();
out.count = document.querySelector("#count").textContent;
choose("#class", "");
choose("#kind", "false");
out.false = cards();
choose("#kind", "");
const mini = all("button.mini")[0];
mini.click();
out.mini = [mini.getAttribute("aria-pressed"), cards()];
mini.click();
out.unpressed = [mini.getAttribute("aria-pressed"), cards()];

const dialog = document.querySelector("dialog");
out.closed = dialog.open;
all("#cards .card")[0].click();
const first = document.querySelector("#title").textContent;
out.opened = [dialog.open, first, all("#large img").length, all("#large li").length,
              document.activeElement.id];
out.line = document.querySelector("#large li").textContent;
dialog.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
out.next = document.querySelector("#title").textContent;
document.querySelector("#previous").click();
out.back = document.querySelector("#title").textContent === first;
document.querySelector("#close").click();
out.shut = dialog.open;
all("#pairs .card")[0].click();
out.pair = [all("#large img").length, all("#large em").map(e => e.textContent)];
document.querySelector("#close").click();

out.reached = all("button, select, a").every(each => each.tabIndex === 0);
out.named = all("button").every(each => each.textContent || each.ariaLabel);
out.wide = document.documentElement.scrollWidth <= innerWidth;
"""

PHONE = """
const page = document.documentElement.outerHTML.replace(/<script.*?<\\/script>/gs, "");
const frame = document.createElement("iframe");
frame.style.width = "390px";
document.body.append(frame);
const inner = frame.contentDocument;
inner.write(page);
inner.close();
out.width = frame.contentWindow.innerWidth;
out.scroll = inner.documentElement.scrollWidth;
"""


def test_the_page_works(report, browser):
    out = browser.findings(report, DRIVE)
    assert browser.problems == []
    assert out["images"] == out["all"] == 6 and out["boxes"] > 12
    assert out["title"] == "cat 0.95, classification, IoU 1.00 with dog"
    assert out["down"] == ["descending", ["cat", "dog", "emu"]]
    assert out["up"] == ["ascending", ["dog", "cat", "emu"]]
    assert out["names"] == ["ascending", None, ["cat", "dog", "emu"]]
    assert out["dog"] == 3 and out["dogMissed"] == 2 and out["count"] == "2 pictures"
    assert out["marked"] == ["dog"] * 3
    assert out["false"] == 3
    assert out["mini"] == ["true", 3] and out["unpressed"] == ["false", 6]
    assert out["closed"] is False and out["shut"] is False
    assert out["opened"] == [True, "im2", 1, 4, "next"]
    assert out["line"] == "cat 0.95, classification, IoU 1.00 with dog"
    assert out["next"] == "im3" and out["back"]
    assert out["pair"] == [2, ["earlier", "now"]]
    assert out["reached"] and out["named"] and out["wide"]


def test_the_page_fits_a_phone(report, browser):
    out = browser.findings(report, PHONE)
    assert browser.problems == []
    assert 370 < out["width"] <= 390 and out["scroll"] <= out["width"]
