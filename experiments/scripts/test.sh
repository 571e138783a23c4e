#!/usr/bin/env bash
# Test the newest or a given checkpoint and print per-class AP and mAP.
#   ./experiments/scripts/test.sh DATASET NET [options]       --help lists them
# --gpus N runs it in N processes; see docs/distributed.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
use_environment
FRCNN_PROG=test.sh exec "$PYTHON" "$REPO/tools/test_net.py" "$@"
