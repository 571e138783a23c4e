#!/usr/bin/env bash
# Open TensorBoard on output/; further arguments go to TensorBoard (such as --port).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_environment
exec "$PYTHON" -m tensorboard.main --logdir "${FRCNN_OUTPUT:-$REPO/output}" "$@"
