#!/usr/bin/env bash
# Open TensorBoard on output/; arguments (such as --port) are passed to TensorBoard.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_environment
exec "$PYTHON" -m tensorboard.main --logdir "${FRCNN_OUTPUT:-$REPO/output}" "$@"
