#!/usr/bin/env bash
# Runs fuzzers that `make` built, for a time (make fuzz) or a number of inputs (make fuzz-smoke).
# It keeps inputs that reach new code in build/fuzz/corpus, and crashes in build/fuzz/crashes.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    echo "usage: tools/fuzz.sh (--seconds N | --runs N) FUZZER..."
    echo "FUZZER: a name from tests/fuzz, such as gguf for tests/fuzz/gguf_fuzz.cpp"
}

limit=()
case "${1:-}" in
    --seconds) limit=(-max_total_time="$2"); shift 2 ;;
    --runs) limit=(-runs="$2" -seed=1); shift 2 ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
esac
if [ $# -eq 0 ]; then
    usage >&2
    exit 2
fi

mkdir -p build/fuzz/crashes
failed=()
for name in "$@"; do
    corpus=build/fuzz/corpus/$name
    log=build/fuzz/$name.log
    mkdir -p "$corpus"
    seeds=()
    if [ -d "tests/fuzz/corpus/$name" ]; then
        seeds=("tests/fuzz/corpus/$name")
    fi
    # Inputs of more than 65536 bytes only slow a fuzzer down. No parser may ask for more than
    # 512 MiB at once.
    if build/fuzz/"$name" "${limit[@]}" -max_len=65536 -rss_limit_mb=1024 -malloc_limit_mb=512 \
        -timeout=10 -print_final_stats=1 -artifact_prefix=build/fuzz/crashes/"$name"- \
        "$corpus" "${seeds[@]}" > "$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "  fuzz    $name: ${runs:-0} inputs, nothing found"
    else
        failed+=("$name")
        echo "  fuzz    $name: FAILED, the end of $log:"
        tail -n 25 "$log"
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "fuzz: failed: ${failed[*]} (inputs in build/fuzz/crashes)" >&2
    exit 1
fi
