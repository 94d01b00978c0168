#!/bin/sh
# Installs release 0.25 of the Python tool from PyPI into a virtual environment, unless it is there.
# Usage: release-0.25.sh FOLDER
set -eu

# It is written for old versions of its dependencies, which not every Python takes.
for candidate in python3.11 python3.10 python3.9 python3.8 python3; do
    if "$candidate" -c 'import venv, ensurepip' > /dev/null 2>&1; then
        python=$(command -v "$candidate")
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "error: no Python with venv: install python3-venv" >&2
    exit 1
fi

# The program is the last thing that is made: where it runs, all is there.
if ! "$1/bin/transient" --version > /dev/null 2>&1; then
    "$python" -m venv --clear "$1"
    # pkg_resources, which a dependency imports, is gone from newer setuptools.
    "$1/bin/pip" install --quiet --disable-pip-version-check 'setuptools<80' 'transient==0.25'
fi
