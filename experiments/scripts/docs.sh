#!/usr/bin/env bash
# Build the documentation's site, with the API reference made of the docstrings, into
# output/site, a folder that any static host can serve.
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
# Without Material's notice about MkDocs 2, which pyproject.toml rules out.
NO_MKDOCS_2_WARNING=1 "$PYTHON" -m mkdocs build --strict "$@"
