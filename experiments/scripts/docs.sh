#!/usr/bin/env bash
# Build the documentation site, with the API reference from the docstrings, in
# output/site, which any static host can serve.
# usage: ./experiments/scripts/docs.sh [mkdocs build arguments]
# A warning, such as a broken link or a parameter that does not exist, is an error.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case ${1:-} in
  -h | --help)
    sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}"
    exit
    ;;
esac
use_environment docs
cd "$REPO"
# Suppress Material's notice about MkDocs 2, which pyproject.toml excludes.
NO_MKDOCS_2_WARNING=1 "$PYTHON" -m mkdocs build --strict "$@"
