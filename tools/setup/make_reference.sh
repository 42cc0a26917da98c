#!/bin/bash
# Makes build/reference-venv with llama-cpp-python, for the benchmarks and the tests of `make soak`,
# which compare with it. It is built from its source, pinned by hash. The first run takes about 15
# minutes. If the environment is there already, the script is quick and says nothing.
# Needs clang-19 and the package registry.
set -euo pipefail
export LC_ALL=C
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

pins="$root/tests/reference"
# For this very processor, and by clang: GCC 12 drops stores before `ldtilecfg`, so its builds crash
# on processors with AMX.
flags="-DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19"

name_venv reference-venv "$@"
# What the environment is made from. The file is written last: if it is there, all else is, too.
made_from() { cat "$pins/requirements.txt"; printf '%s\n' "$flags"; }
is_made() { cmp -s <(made_from) "$venv/made-from.txt"; }
leave_if_made

command -v clang++-19 > /dev/null || give_up "no clang++-19 is here to build llama-cpp-python with; \`make setup\` installs it"
say "building llama-cpp-python into build/reference-venv (about 15 minutes, 77 MB to fetch)"
new_venv
"${pip[@]}" --only-binary :all: -r "$pins/build.txt" >> "$log" 2>&1 ||
    give_up "could not get the packages of tests/reference/build.txt; can PyPI be reached from here?"
# Build with the tools that were just installed. The job has a process group of its own, so that the
# trap can end all of it.
set -m
PATH="$venv/bin:$PATH" CMAKE_ARGS="$flags" nice -n 5 \
    "${pip[@]}" --verbose --no-cache-dir --no-build-isolation --only-binary :all: --no-binary llama-cpp-python \
    -r "$pins/requirements.txt" >> "$log" 2>&1 &
job=$!
set +m
trap 'kill -- "-$job" 2> /dev/null || true' EXIT
# Ninja counts: "[12/345] Building ...". On a terminal one line shows the count, elsewhere a line a
# minute.
began=$SECONDS said=$SECONDS
while kill -0 "$job" 2> /dev/null; do
    sleep 1
    step="$(grep -o '\[[0-9]*/[0-9]*\]' "$log" | tail -n 1 || true)"
    if [ -t 1 ]; then
        printf "\rsetup: compiling, %s%d s " "${step:+$step, }" $((SECONDS - began))
    elif [ $((SECONDS - said)) -ge 60 ]; then
        said=$SECONDS
        say "compiling, ${step:+$step, }$((SECONDS - began)) s"
    fi
done
[ ! -t 1 ] || printf '\n'
trap - EXIT
wait "$job" || give_up "could not build the packages of tests/reference/requirements.txt"
"$venv/bin/python" -c 'import llama_cpp' >> "$log" 2>&1 || give_up "llama-cpp-python was built but does not load"
made_from > "$venv/made-from.txt"
say "build/reference-venv is ready, after $((SECONDS - began)) s"
