# Find or create the Python environment; the other scripts source this file.
# Sets REPO (the repository's root) and PYTHON (an interpreter that has the package).

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Print the path of a Python between 3.10 and 3.13, or fail.
find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11 python3.10 python; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c \
      'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
      >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  echo "error: no Python 3.10 to 3.13 found; install one and run this again" >&2
  return 1
}

# use_environment [EXTRA]: use the active environment if it contains this repository's
# package and the dependencies of EXTRA (such as dev), otherwise .venv, created if missing.
use_environment() {
  local python extra=${1:-} modules='torch torchvision cv2 pydantic' probe
  [ "$extra" = dev ] && modules="$modules pytest xdist mypy ruff"
  [ "$extra" = docs ] && modules="$modules mkdocs material mkdocstrings ruff"
  # The package must be that of this checkout. Its dependencies are found but not imported:
  # importing PyTorch takes seconds, and the program itself does it later.
  probe='import faster_rcnn, faster_rcnn.recipes, importlib.util, pathlib, sys
here = pathlib.Path(sys.argv[1]).resolve()
there = pathlib.Path(faster_rcnn.__file__).resolve().parents[1]
sys.exit(there != here or not all(map(importlib.util.find_spec, sys.argv[2:])))'
  for PYTHON in "$(command -v python3 || true)" "$REPO/.venv/bin/python"; do
    if [ -x "$PYTHON" ] && "$PYTHON" -c "$probe" "$REPO" $modules >/dev/null 2>&1; then
      return
    fi
  done
  PYTHON=$REPO/.venv/bin/python
  if [ ! -x "$PYTHON" ]; then
    python=$(find_python)
    echo "Creating the environment .venv" >&2
    "$python" -m venv "$REPO/.venv"
  fi
  echo "Installing into .venv (PyTorch and its CUDA libraries: some 5 GB)" >&2
  "$PYTHON" -m pip install --quiet --upgrade pip >&2
  "$PYTHON" -m pip install --quiet --editable "$REPO${extra:+[$extra]}" >&2
}

# use_oldest_environment: use .venv-oldest, with the oldest versions that pyproject.toml
# allows. pip always selects the newest versions, so uv installs them; with its cache, a
# later installation takes seconds.
use_oldest_environment() {
  local python
  PYTHON=$REPO/.venv-oldest/bin/python
  if [ ! -x "$PYTHON" ]; then
    python=$(find_python)
    echo "Creating the environment .venv-oldest" >&2
    "$python" -m venv "$REPO/.venv-oldest"
  fi
  echo "Installing the oldest versions into .venv-oldest (some 7 GB)" >&2
  "$PYTHON" -m pip install --quiet uv >&2
  "$PYTHON" -m uv pip install --quiet --python "$PYTHON" --resolution lowest-direct \
    --editable "$REPO[dev]" >&2
}
