#!/usr/bin/env bash
# Builds everything, runs ctest and pytest, both even where the first fails, and closes with both summaries.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --build build --parallel "$(nproc)" || exit 1
status=0
ctest --test-dir build --output-on-failure --no-tests=error --parallel "$(nproc)" 2>&1 |
  tee build/ctest.log || status=1
.venv/bin/python -m pytest -q --color=no --numprocesses "$(nproc)" --dist loadgroup tests/python 2>&1 |
  tee build/pytest.log || status=1

echo
echo "ctest:  $(grep 'tests passed' build/ctest.log)"
sed -n '/^The following tests did not run/,$p' build/ctest.log
echo "pytest: $(tail -n 1 build/pytest.log)"
exit "$status"
