#!/bin/sh
# Make (or renew) a virtual environment from a hashed lock: venv.sh FOLDER LOCK
# PYTHON=… chooses the interpreter. uv does the work where there is one, or where pip can bring one; else pip.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder=$here/$1
lock=$2

usable() {
    "$1" -c 'import sys; raise SystemExit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' 2>/dev/null
}

choose() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11, 3.12 or 3.13 that runs. Give one: make PYTHON=/path/to/python3.12 …" >&2
    exit 1
}

version() {
    "$1" -c 'import sys; print(sys.version)'
}

# Whatever made the folder, it is kept, unless another Python is asked for.
asked=${PYTHON:+$(choose)}
fits() {
    usable "$folder/bin/python" &&
        { [ -z "$asked" ] || [ "$(version "$folder/bin/python")" = "$(version "$asked")" ]; }
}

# Says from which files the folder was filled: nothing is done twice.
stamp="$folder/installed-$lock"
wanted=$(cat "$here/$lock" "$here/pyproject.toml" "$0" | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && fits; then
    exit 0
fi

if ! fits; then
    python=$(choose)
    echo "Making $folder with $("$python" --version)"
    rm -rf "$folder"
    "$python" -m venv "$folder" || {
        echo "$python has no venv module (Debian: apt install python3-venv). Nothing was installed." >&2
        exit 1
    }
fi

echo "Installing $lock"
rm -f "$stamp"
install_by_uv() {
    uv=$(command -v uv) || {
        uv="$folder/bin/uv"
        # One small wheel out of the same lock makes the other hundreds install in seconds.
        grep -A 100 '^uv==' "$here/$lock" | awk 'NR > 1 && !/^ /{exit} {print}' >"$folder/uv.lock"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$folder/uv.lock"
    } || return 1
    UV_SYSTEM_CERTS=1 VIRTUAL_ENV=$folder "$uv" pip install --quiet --require-hashes --no-deps --requirement "$here/$lock"
}
install_by_uv || {
    echo "uv could not; pip takes some minutes"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement "$here/$lock"
}
# shellcheck disable=SC2086
editable="--no-deps --no-build-isolation --editable $here"
VIRTUAL_ENV=$folder "$uv" pip install --quiet $editable 2>/dev/null ||
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check $editable
echo "$wanted" >"$stamp"
