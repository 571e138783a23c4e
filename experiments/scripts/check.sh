#!/usr/bin/env bash
# Create the environment, then run formatter, linter, type checker and tests.
# usage: ./experiments/scripts/check.sh [pytest arguments, such as a test file]
#        ./experiments/scripts/check.sh --fast [pytest arguments]
#        ./experiments/scripts/check.sh --oldest [pytest arguments]
# With --fast, skip the tests that are marked as slow, processes or browser (see
# pyproject.toml). With --oldest, run the tests that depend most on the versions of PyTorch
# and other packages, in .venv-oldest, with the oldest versions that pyproject.toml allows.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# Without stored bytecode, each of the many processes would compile all sources again.
unset PYTHONDONTWRITEBYTECODE
# Memory of one test serves the next: to map it anew takes a twentieth of the time.
export MALLOC_MMAP_THRESHOLD_=$((1 << 27)) MALLOC_TRIM_THRESHOLD_=$((1 << 28))
# The default tests of --oldest: imports, operators compared with their references,
# layers, suppression, the detectors, every gradient, and the commands themselves.
OLDEST_TESTS=(
  tests/test_imports.py tests/kernels tests/nms tests/layer_utils
  tests/model tests/test_commands.py
  tests/export/test_job.py::test_written_beside_the_checkpoint
)
case ${1:-} in
  -h | --help)
    sed -n '2,9s/^# //p' "${BASH_SOURCE[0]}"
    exit
    ;;
  --fast)
    shift
    set -- -m "not slow and not processes and not browser" "$@"
    ;;
  --oldest)
    shift
    use_oldest_environment
    cd "$REPO"
    [ $# -gt 0 ] || set -- "${OLDEST_TESTS[@]}"
    exec "$PYTHON" -m pytest --numprocesses auto "$@"
    ;;
esac
use_environment dev
cd "$REPO"
"$PYTHON" -m ruff format --check .
"$PYTHON" -m ruff check .
"$PYTHON" -m mypy
exec "$PYTHON" -m pytest --numprocesses auto "$@"
