#!/usr/bin/env bash
# pip install . in a fresh environment, and the tests of the module on what it installed. Builds the whole library: minutes.
# usage: test_pip.sh PYTHON BUILD_DIR TEST
set -euo pipefail
python=$1 build=$2 test=$3
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)

work=$build/test_pip
rm -rf "$work/environment"
"$python" -m venv "$work/environment"
export CMAKE_BUILD_PARALLEL_LEVEL=2
"$work/environment/bin/pip" install --quiet --config-settings=build-dir="$work/build" "$root[test]"
cd "$work"  # so that nothing of the source tree is found
unset PYTHONPATH
"$work/environment/bin/python" -c 'import gyre, pathlib; print(gyre.__version__, [file.name for file in sorted(pathlib.Path(gyre.__file__).parent.iterdir())])'
"$work/environment/bin/python" "$test"
