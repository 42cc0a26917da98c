#!/bin/bash
# Makes build/bench-venv: Python with llama.cpp (llama-cpp-python), compiled here for this processor, so
# that `make bench` can measure beside it. Sources and packages are pinned by hash (tools/bench/*.txt).
# Ten minutes or more, once; quiet and quick when it is there already.
set -euo pipefail
export LC_ALL=C

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/build/bench-venv"
log="$root/build/bench-venv.log"
# The compiler is ours: GCC 12 drops stores before `ldtilecfg`, so its llama.cpp crashes where there is AMX.
flags="-DGGML_NATIVE=ON -DCMAKE_BUILD_TYPE=Release -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF"
compilers="-DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19"

case "${1:-}" in
    '') ;;
    -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    *) printf 'make_bench_venv: unknown argument %s (it takes none)\n' "'$1'" >&2; exit 2 ;;
esac

# What it was made from; written last, so an environment with it is a whole one.
wanted() { cat "$root/tools/bench/requirements.txt" "$root/tools/bench/llama_cpp.txt"; printf '%s %s\n' "$flags" "$compilers"; }
is_made() { cmp -s <(wanted) "$venv/made-from.txt"; }
if is_made; then exit 0; fi

say() { printf 'setup: %s\n' "$*"; }
give_up() {
    printf 'setup: %s\n' "$1" >&2
    tail -n 5 "$log" | sed 's/^/  /' >&2
    printf 'setup: the whole story is in build/bench-venv.log; without llama.cpp `make bench` measures ours alone\n' >&2
    exit 1
}

mkdir -p "$root/build"
# One at a time; who had to wait finds it made.
exec 9> "$root/build/bench-venv.lock"
flock 9
if is_made; then exit 0; fi
if ! command -v clang++-19 > /dev/null; then
    printf 'setup: clang++-19 is missing; `make setup` installs it\n' >&2
    exit 1
fi
rm -rf "$venv"
: > "$log"
say "fetching the benchmarks' Python packages (tools/bench/requirements.txt) into build/bench-venv"
/usr/bin/python3 -m venv "$venv" >> "$log" 2>&1 ||
    give_up "could not make a Python environment; is the Debian package python3-venv there?"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)
"${pip[@]}" install --only-binary :all: --no-deps --require-hashes -r "$root/tools/bench/requirements.txt" \
    >> "$log" 2>&1 ||
    give_up "could not get the Python packages of tools/bench/requirements.txt; can PyPI be reached from here?"

say "fetching and compiling llama-cpp-python (77 MB; ten minutes or more), log in build/bench-venv.log"
PATH="$venv/bin:$PATH" CMAKE_ARGS="$flags $compilers" nice -n 10 "${pip[@]}" install --verbose \
    --no-build-isolation --no-binary llama-cpp-python --no-cache-dir --no-deps --require-hashes \
    -r "$root/tools/bench/llama_cpp.txt" >> "$log" 2>&1 9>&- &
job=$!
trap 'kill "$job" 2> /dev/null || true' EXIT
# Ninja counts: "[12/345] Building ...". A line a minute, or one that moves on a terminal.
began=$SECONDS said=0
while kill -0 "$job" 2> /dev/null; do
    sleep 1
    step="$(grep -o '\[[0-9]*/[0-9]*\]' "$log" | tail -n 1 || true)"
    if [ -t 1 ]; then
        printf '\rsetup: compiling %s, %d s ' "$step" $((SECONDS - began))
    elif [ $((SECONDS - said)) -ge 60 ]; then
        said=$SECONDS
        say "compiling $step, $((SECONDS - began)) s"
    fi
done
[ ! -t 1 ] || printf '\n'
trap - EXIT
wait "$job" || give_up "could not fetch or compile llama-cpp-python 0.3.36"
system="$("$venv/bin/python" -c 'import llama_cpp as l; print(l.__version__, l.llama_print_system_info().decode())' 2>> "$log")" ||
    give_up "llama-cpp-python was compiled but does not load"
wanted > "$venv/made-from.txt"
say "llama-cpp-python is ready in $((SECONDS - began)) s: $system"
