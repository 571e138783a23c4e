"""HTML whose elements all close."""

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br"}
"""Elements without an end."""


class Balanced(HTMLParser):
    """Checks that all elements are closed, and gathers what they refer to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.count = [], [], {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [v for k, v in attributes if k in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag
