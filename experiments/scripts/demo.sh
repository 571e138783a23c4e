#!/usr/bin/env bash
# Detect objects in pictures, videos or cameras with a trained detector; --serve shows a
# page to try it on.
#   ./experiments/scripts/demo.sh CHECKPOINT SOURCE... [options]     --help lists them
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_environment
FRCNN_PROG=demo.sh exec "$PYTHON" "$REPO/tools/demo.py" "$@"
