#!/usr/bin/env bash
# Prints a Python of 3.10 or later that can make virtual environments and has its C headers; fails where there is none.
set -u
check='
import sys, sysconfig, os, venv, ensurepip
assert sys.version_info >= (3, 10)
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
print(os.path.realpath(sys.executable))'
for candidate in ${PYTHON:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
  "$candidate" -c "$check" 2>/dev/null && exit 0
done
exit 1
