#!/bin/sh
# Tests the Python package as users have it: the wheel, installed in a fresh virtual environment.
# Usage: test-python.sh WHEEL [PYTEST ARGUMENT...]
set -eu
cd "$(dirname "$0")/.."

wheel=$1
shift
venv=target/python-tests
python3 -m venv --clear "$venv"
PATH="$PWD/$venv/bin:$PATH"
pip install --quiet --disable-pip-version-check --requirement tests/python/requirements.txt "$wheel"

for check in "ruff check --quiet" "ruff format --quiet --check"; do
    # shellcheck disable=SC2086 # a command and its arguments
    $check --no-cache --config python/pyproject.toml python tests/python examples/python
done
mypy --no-error-summary --cache-dir "$venv/mypy" --config-file python/pyproject.toml tests/python examples/python

# Nothing of this checkout's is taken but the tests: no appliance, no module.
exec env -u TRANSIENT_APPLIANCE TRANSIENT_CACHE="$PWD/target/python-tests/cache" \
    pytest -c python/pyproject.toml --rootdir tests/python --numprocesses 2 "$@" tests/python
