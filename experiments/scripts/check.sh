#!/usr/bin/env bash
# Set up, then run formatter, linter, type checker and tests.
# usage: ./experiments/scripts/check.sh [pytest arguments, such as a test file]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case ${1:-} in
  -h | --help)
    sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"
    exit
    ;;
esac
use_environment dev
cd "$REPO"
"$PYTHON" -m ruff format --check .
"$PYTHON" -m ruff check .
"$PYTHON" -m mypy
exec "$PYTHON" -m pytest --numprocesses auto "$@"
