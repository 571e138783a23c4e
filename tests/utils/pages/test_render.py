"""Templates, style sheets and scripts are sound, and what fills them is escaped."""

import re

import pytest
from command_lines import REPOSITORY
from faster_rcnn.utils.pages import render as rendering
from faster_rcnn.utils.pages.canvas import COLORS, Drawing, Text
from faster_rcnn.utils.pages.render import render, sources, styles
from jinja2 import DictLoader, UndefinedError

LIB = REPOSITORY / "lib"
PARTS = {
    str(path.relative_to(LIB)): path.read_text(encoding="utf-8")
    for ending in ("html", "css", "js")
    for path in sorted(LIB.rglob(f"*.{ending}"))
}


@pytest.fixture
def template(monkeypatch):
    """A function that fills a template given as text."""

    def fill(text, **values):
        environment = rendering._ENVIRONMENT.overlay(loader=DictLoader({"x": text}))
        monkeypatch.setattr(rendering, "_ENVIRONMENT", environment)
        return render("x", **values)

    return fill


def test_values_are_escaped(template):
    assert template("{{ a }} {{ a }}", a="<&") == "&lt;&amp; &lt;&amp;"
    plot = Drawing("a < b", 9, 5, [Text(0, 0, "x & y")])
    assert template("{{ plot }}", plot=plot) == plot.svg()
    assert "</" not in template("{{ a|tojson }}", a={"b": ["</script>"]})


def test_missing_value_is_an_error(template):
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        template("{{ name }}")


@pytest.mark.parametrize("name", PARTS)
def test_parts(name):
    text = PARTS[name]
    assert all(len(line) <= 88 and line == line.rstrip() for line in text.split("\n"))
    assert text.endswith("\n") and "\t" not in text
    if name.endswith(".html"):
        rendering._ENVIRONMENT.get_template(name)
        named = re.findall(r'"([\w/]+\.(?:html|css|js))"', text)
        assert set(named) <= set(PARTS)
    else:
        assert sources(name) == text and "</s" not in text
        assert all(text.count(a) == text.count(b) for a, b in ("{}", "()", "[]"))


def test_styles_use_defined_colors():
    every = "".join(PARTS.values())
    used = set(re.findall(r"var\(--([\w-]+)\)", every))
    assert used <= {*COLORS, *re.findall(r'"--([\w-]+)[:"]', every)}
    assert styles().count("--ink:") == 2  # light and dark
