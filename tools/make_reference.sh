#!/bin/bash
# Makes build/reference-venv: llama-cpp-python built from its source, pinned by hash, for comparison
# (tests of `make soak`, benchmarks). Takes about a quarter of an hour the first time; quiet and
# quick when it is there already. Needs a C++ compiler (g++) and the package registry.
set -euo pipefail
export LC_ALL=C

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
pins="$root/tests/reference"
venv="$root/build/reference-venv"
log="$root/build/reference-venv.log"

case "${1:-}" in
    '') ;;
    -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    *) printf 'make_reference: unknown argument %s (it takes none)\n' "'$1'" >&2; exit 2 ;;
esac

# Written last, so an environment with it is a whole one.
if cmp -s "$pins/requirements.txt" "$venv/requirements.txt"; then exit 0; fi

give_up() {
    printf 'setup: %s\n' "$1" >&2
    if [ -s "$log" ]; then tail -n 5 "$log" | sed 's/^/  /' >&2; fi
    printf 'setup: the whole story is in build/reference-venv.log\n' >&2
    exit 1
}

mkdir -p "$root/build"
exec 9> "$root/build/reference-venv.lock"
flock 9
if cmp -s "$pins/requirements.txt" "$venv/requirements.txt"; then exit 0; fi
rm -rf "$venv"
: > "$log"
command -v g++ > /dev/null || give_up "no g++ is here to build llama-cpp-python with"
printf 'setup: building llama-cpp-python into build/reference-venv (about 15 minutes, 77 MB to fetch)\n'
/usr/bin/python3 -m venv "$venv" >> "$log" 2>&1 ||
    give_up "could not make a Python environment; is the Debian package python3-venv there?"
pip=("$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps --require-hashes)
"${pip[@]}" --only-binary :all: -r "$pins/build.txt" >> "$log" 2>&1 ||
    give_up "could not get the packages of tests/reference/build.txt; can PyPI be reached from here?"
# The tools that build are the ones just installed. For this very processor, but without AMX: with it
# this version was seen to end at its first ldtilecfg (a virtual Sapphire Rapids).
no_amx="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
PATH="$venv/bin:$PATH" CC=gcc CXX=g++ CFLAGS="$no_amx" CXXFLAGS="$no_amx" \
    "${pip[@]}" --no-cache-dir --no-build-isolation --only-binary :all: --no-binary llama-cpp-python \
    -r "$pins/requirements.txt" >> "$log" 2>&1 ||
    give_up "could not build the packages of tests/reference/requirements.txt"
"$venv/bin/python" -c 'import llama_cpp' >> "$log" 2>&1 || give_up "llama-cpp-python was built but does not load"
cp "$pins/requirements.txt" "$venv/requirements.txt"
printf 'setup: build/reference-venv is ready\n'
