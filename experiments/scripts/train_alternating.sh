#!/usr/bin/env bash
# Train a detector in the four alternating steps of the Faster R-CNN paper, test it, and
# print per-class AP and mAP.
#   ./experiments/scripts/train_alternating.sh DATASET NET [options]  --help lists them
# --gpus N runs it in N processes; see docs/distributed.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_environment
FRCNN_PROG=train_alternating.sh exec "$PYTHON" "$REPO/tools/train_alternating.py" "$@"
