#!/usr/bin/env bash
# Pins what the images hold, and what builds it, by hash within constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
common=(--constraint constraints.txt --generate-hashes --python-version 3.11 --quiet --no-annotate --no-header
  --python-platform x86_64-manylinux_2_28 --no-emit-package stylegan2-ada)
uv pip compile pyproject.toml "${common[@]}" --output-file images/cpu.lock
uv pip compile pyproject.toml --extra train "${common[@]}" --output-file images/gpu.lock
# The setuptools that torch asks for builds the packages that come as sources, too.
grep '^setuptools==' images/gpu.lock | cut -d' ' -f1 | uv pip compile - "${common[@]}" --output-file images/build.lock
