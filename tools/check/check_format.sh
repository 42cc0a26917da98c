#!/bin/bash
# Checks that every C++ source is as clang-format-19 writes it. Names those that are not, and exits 1.
# `tools/check/check_format.sh --fix` rewrites them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mode=(--dry-run -Werror)
case "${1:-}" in
    '') ;;
    --fix) mode=(-i) ;;
    *) sed -n '2,3s/^# //p' "$0"; [ "$1" = --help ] && exit 0 || exit 2 ;;
esac

# Tracked files and new ones, without those that were deleted.
mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.h' '*.c' '*.cpp' |
    sort -u | while IFS= read -r f; do [ ! -f "$f" ] || echo "$f"; done)
if [ ${#files[@]} -eq 0 ]; then
    echo "check_format: git names no sources here" >&2
    exit 1
fi
if ! said="$(clang-format-19 --style=file "${mode[@]}" "${files[@]}" 2>&1)"; then
    printf '%s\n' "$said" |
        sed -n 's/^\([^ ]*:[0-9]*\):[0-9]*: error:.*/\1: not as clang-format-19 writes it/p' | uniq
    echo "format: run tools/check/check_format.sh --fix" >&2
    exit 1
fi
echo "format: ${#files[@]} files"
