"""The page of the demo: one HTML text that loads no other file."""

import base64
import hashlib

from ..utils.pages.render import render, sources, styles

_STYLE = styles("demo/demo.css")
_SCRIPT = sources("demo/overlay.js", "demo/demo.js")

PAGE = str(render("demo/demo.html", style=_STYLE, script=_SCRIPT))


def _source(text: str) -> str:
    """Return the policy's name of an inline text, the only one that it allows."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src {_source(_SCRIPT)}",
        f"style-src {_source(_STYLE)}",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""The Content-Security-Policy under which the page works: it loads no file."""
