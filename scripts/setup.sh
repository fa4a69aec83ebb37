#!/usr/bin/env bash
# Installs what is missing, makes .venv, builds the Python module: after it `.venv/bin/runflat` works.
# A second run finds everything in place, needs no network and takes seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "setup: $*" >&2
  exit 1
}

# Lines of apt-packages.txt whose probe fails.
missing_packages() {
  while read -r package probe; do
    case "$package" in '' | '#'*) continue ;; esac
    bash -c "$probe" >/dev/null 2>&1 </dev/null || echo "$package"
  done <scripts/apt-packages.txt
}

# The first of the alternatives a|b that this release of Debian has.
available() {
  local name
  for name in ${1//|/ }; do
    if apt-cache show "$name" >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  echo "${1%%|*}"
}

install_packages() {
  local missing as_root=() names=() package
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    as_root=(sudo -n)
    "${as_root[@]}" true 2>/dev/null || fail "missing, and no root to install it:" $missing
  fi
  command -v apt-get >/dev/null || fail "missing, and no apt-get to install it:" $missing
  echo "setup: installing" $missing
  mkdir -p build
  {
    "${as_root[@]}" apt-get update -qq
    for package in $missing; do names+=("$(available "$package")"); done
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${names[@]}"
  } >build/apt.log 2>&1 </dev/null || {
    cat build/apt.log >&2
    fail "apt-get could not install:" $missing
  }
  missing=$(missing_packages)
  [ -z "$missing" ] || fail "installed, but still not usable:" $missing
}

# .venv holds the packages of pyproject.toml and the runflat package itself, editable.
make_venv() {
  local python stamp
  python=$(scripts/find-python.sh) || fail "needs a Python of 3.10 or later with venv and headers; set PYTHON"
  stamp="$(sha256sum pyproject.toml | cut -d' ' -f1) $PWD"
  if [ "$(cat .venv/setup-stamp 2>/dev/null)" = "$stamp" ] && .venv/bin/python -c 'import pybind11, typer' 2>/dev/null; then
    return
  fi
  echo "setup: making .venv with $python"
  "$python" -m venv --clear .venv
  .venv/bin/python -m pip install -q 'setuptools>=68' wheel || fail "pip could not install setuptools and wheel"
  .venv/bin/python -m pip install -q --no-build-isolation -e '.[dev]' ||
    fail "pip could not install the packages of pyproject.toml"
  echo "$stamp" >.venv/setup-stamp
}

build_module() {
  local cuda_bin=/usr/local/cuda/bin
  if ! command -v nvcc >/dev/null && [ -x "$cuda_bin/nvcc" ]; then PATH="$PATH:$cuda_bin"; fi
  mkdir -p build
  cmake -S . -B build -G Ninja -DPython_EXECUTABLE="$PWD/.venv/bin/python" \
    -DRUNFLAT_BUILD_PYTHON=ON -DRUNFLAT_BUILD_TESTS=ON >build/configure.log 2>&1 || {
    cat build/configure.log >&2
    fail "cmake could not configure the build"
  }
  grep -o 'runflat: .*' build/configure.log
  cmake --build build --parallel "$(nproc)" --target _core runflat-train runflat-agent
}

install_packages
make_venv
build_module
