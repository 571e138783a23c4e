#!/usr/bin/env bash
# Detect objects in images, videos or cameras with a trained detector; --serve opens a
# local web page for it.
#   ./experiments/scripts/demo.sh CHECKPOINT SOURCE... [options]     --help lists them
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_environment
FRCNN_PROG=demo.sh exec "$PYTHON" "$REPO/tools/demo.py" "$@"
