#!/usr/bin/env bash
# Train a detector, test its checkpoint, and print per-class AP and mAP.
#   ./experiments/scripts/train.sh DATASET NET [options]      --help lists them
# --gpus N runs it in N processes; see docs/distributed.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_environment
FRCNN_PROG=train.sh exec "$PYTHON" "$REPO/tools/train_net.py" "$@"
