"""The page of the demo: one HTML text that needs nothing from elsewhere."""

import base64
import hashlib

from .page_script import SCRIPT
from .page_style import STYLE

_ICON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
    "<path fill='none' stroke='%232f6fb5' stroke-width='2' d='M2 6V2h4M10 2h4v4M14 10v4"
    "h-4M6 14H2v-4'/><circle cx='8' cy='8' r='2.5' fill='%23c2410c'/></svg>"
)

PAGE = f"""<!doctype html>
<html lang=en>
<head>
<meta charset=utf-8>
<title>Faster R-CNN: try it</title>
<meta name=viewport content="width=device-width, initial-scale=1">
<meta name=color-scheme content="light dark">
<link rel=icon href="{_ICON}">
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Faster R-CNN</h1>
<p id=about class=soft>Loading</p>
<label class="button main" for=file id=choose>Choose a picture</label>
<input type=file id=file accept="image/*" class=unseen>
</header>
<main>
<section id=stage aria-label="Picture">
<p id=problem role=alert hidden></p>
<label id=drop for=file>
<svg viewBox="0 0 48 48" aria-hidden=true><path d="M6 16V6h10M32 6h10v10M42 32v10H32M16
42H6V32M24 33V16M17 22l7-7 7 7"/></svg>
<b>Drop a picture here</b>
<span class=soft>or press to choose one, or paste it</span>
<small class=soft id=limits></small>
</label>
<div id=view hidden><img id=picture alt=""><div id=boxes></div></div>
<p id=status class=soft role=status></p>
</section>
<aside aria-label="Detections">
<div class=panel>
<div class=row><label for=threshold><b>Threshold</b></label>
<output id=value for=threshold>0.50</output></div>
<input type=range id=threshold min=0.05 max=1 step=0.01 value=0.5 disabled>
<div id=classes role=group aria-label="Classes"></div>
</div>
<div class=panel>
<div class=row><b id=count>No detections yet</b></div>
<div class=scroll tabindex=0 role=region aria-label="List of detections">
<table hidden><thead><tr><th scope=col>Class<th scope=col class=n>Score
<th scope=col class=n>x1<th scope=col class=n>y1<th scope=col class=n>x2
<th scope=col class=n>y2</thead><tbody id=rows></tbody></table>
</div>
<p class=buttons>
<button type=button class=button id=save-picture disabled>Save picture</button>
<button type=button class=button id=save-json disabled>Save JSON</button>
<button type=button class=button id=copy-json disabled>Copy JSON</button>
</p>
<details><summary>JSON</summary><pre id=json tabindex=0></pre></details>
</div>
</aside>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _source(text: str) -> str:
    """How a policy names the one inline text that it allows."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src {_source(SCRIPT)}",
        f"style-src {_source(STYLE)}",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""The Content-Security-Policy under which the page works: it loads nothing at all."""
