#!/usr/bin/env bash
# Pins what the images hold by hash, within constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
common=(--constraint constraints.txt --generate-hashes --python-version 3.11 --quiet --no-annotate --no-header
  --python-platform x86_64-manylinux_2_28 --no-emit-package stylegan2-ada)
uv pip compile pyproject.toml "${common[@]}" --output-file images/cpu.lock
uv pip compile pyproject.toml --extra train "${common[@]}" --output-file images/gpu.lock
