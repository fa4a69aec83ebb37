#!/usr/bin/env bash
# Formats the C++, CUDA and Python sources; with --check changes nothing and fails where something would change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t sources < <(find core kernels sim planner exec python tests \
  -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' | sort)
if [ "${1:-}" = --check ]; then
  clang-format --dry-run -Werror "${sources[@]}"
  .venv/bin/ruff check --quiet python tests
  .venv/bin/ruff format --check --quiet --diff python tests
  echo "format: ${#sources[@]} C++ files and the Python sources are clean"
else
  clang-format -i "${sources[@]}"
  .venv/bin/ruff check --quiet --fix python tests
  .venv/bin/ruff format --quiet python tests
fi
