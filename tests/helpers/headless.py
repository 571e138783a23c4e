"""Pages opened in headless Chromium, driven by a script of the test."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

from patience import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# Stands before everything else, so that nothing goes wrong unseen.
_TRAP = """<script>
window.problems = [];
for (const level of ["error", "warn"])
  console[level] = (...words) => problems.push(`${level}: ${words.join(" ")}`);
addEventListener("error",
  e => problems.push(`error: ${e.message || e.target.src}`), true);
addEventListener("unhandledrejection", e => problems.push(`rejected: ${e.reason}`));
</script>"""

_REPORT = """<script>addEventListener("load", () => {
  const outcome = {};
  try { (out => { %s })(outcome); }
  catch (error) { problems.push(`test: ${error.stack}`); }
  outcome.problems = problems;
  const text = document.createElement("pre");
  text.id = "outcome";
  text.textContent = JSON.stringify(outcome);
  document.body.append(text);
});</script>"""


def run_in_page(page: Path, script: str, folder: Path) -> dict[str, Any]:
    """Open a copy of a page, run a script in it, and return what it found out.

    Args:
        page: the HTML file.
        script: body of a function whose argument `out` takes the findings.
        folder: for the copy and the browser's profile.

    Returns:
        The findings, with whatever went wrong as "problems".
    """
    text = page.read_text(encoding="utf-8")
    text = text.replace("<head>", f"<head>{_TRAP}", 1)
    head, end = text.rsplit("</body>", 1)
    copy = folder / "copy.html"
    copy.write_text(f"{head}{_REPORT % script}</body>{end}", encoding="utf-8")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    found = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"no outcome: {done.returncode} {done.stderr[-2000:]}"
    outcome: dict[str, Any] = json.loads(unescape(found[1]))
    return outcome
