#!/usr/bin/env bash
# Check and measure everything that needs a GPU, on one card, in under eight minutes:
#
#     benchmarks/gpu.sh [--budget SECONDS] [--output FOLDER] [--tiny] [--device cpu]
#
# Runs every test marked gpu, finds waits of the host, compares kernels, CUDA graphs and
# whole steps with torchvision, and writes report.md, results.json and a log per step.
# PYTHON names the interpreter (default: .venv's, else python3). If the package is not
# installed there, it is built from this tree into FOLDER/site, without a network; wheels
# of missing dependencies are taken from the folder that WHEELS names.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
output=output/gpu
for ((i = 1; i < $#; i++)); do
    [ "${!i}" = --output ] && next=$((i + 1)) && output=${!next}
done
mkdir -p "$output"
site=$(cd "$output" && pwd)/site
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
# is_available() must not initialise CUDA in a process that is forked afterwards.
export PYTORCH_NVML_BASED_CUDA_CHECK=1 TOKENIZERS_PARALLELISM=false

install() {
    "$PYTHON" -m pip install -q --no-index --no-deps --no-cache-dir --upgrade \
        --target "$site" "$@" || echo "gpu.sh: could not install $*" >&2
}
if [ -n "${WHEELS:-}" ]; then install "$WHEELS"/*.whl; fi
if ! "$PYTHON" -c "import faster_rcnn" 2>/dev/null; then
    install --no-build-isolation .
fi
exec "$PYTHON" benchmarks/gpu_run.py "$@"
