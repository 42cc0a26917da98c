#!/bin/bash
# Makes build/venv, a Python environment with exactly the packages of tests/requirements.txt, each
# checked by its hash. Quiet and quick when it is there already; made anew when the list changed.
set -euo pipefail
export LC_ALL=C

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
wanted="$root/tests/requirements.txt"
venv="$root/build/venv"
log="$root/build/venv.log"

case "${1:-}" in
    '') ;;
    -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
    *) printf 'make_venv: unknown argument %s (it takes none)\n' "'$1'" >&2; exit 2 ;;
esac

# Written last, so an environment with it is a whole one.
if cmp -s "$wanted" "$venv/requirements.txt"; then exit 0; fi

give_up() {
    printf 'setup: %s\n' "$1" >&2
    tail -n 3 "$log" | sed 's/^/  /' >&2
    printf 'setup: the whole story is in build/venv.log\n' >&2
    exit 1
}

mkdir -p "$root/build"
# One at a time; who had to wait finds it made.
exec 9> "$root/build/venv.lock"
flock 9
if cmp -s "$wanted" "$venv/requirements.txt"; then exit 0; fi
rm -rf "$venv"
printf 'setup: fetching Python packages of the tests (tests/requirements.txt) into build/venv\n'
/usr/bin/python3 -m venv "$venv" > "$log" 2>&1 ||
    give_up "could not make a Python environment; is the Debian package python3-venv there?"
"$venv/bin/python" -m pip install --disable-pip-version-check --no-input --only-binary :all: \
    --no-deps --require-hashes -r "$wanted" >> "$log" 2>&1 ||
    give_up "could not get the Python packages of tests/requirements.txt; can PyPI be reached from here?"
cp "$wanted" "$venv/requirements.txt"
