# Makes a Python environment in build/. make_venv.sh and make_reference.sh source this file.
# An environment is complete if is_made(), which the script defines, says so. A lock lets only one
# script at a time make it.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

# name_venv NAME "$@": names the environment and its log. --help prints the script's first comment.
name_venv() {
    venv="$root/build/$1"
    log="$root/build/$1.log"
    pip=("$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps --require-hashes)
    case "${2:-}" in
        '') ;;
        -h | --help) sed -n '2,/^[^#]/s/^# //p' "$0"; exit 0 ;;
        *) printf '%s: unknown argument %s (it takes none)\n' "$(basename "$0" .sh)" "'$2'" >&2; exit 2 ;;
    esac
}

say() { printf 'setup: %s\n' "$*"; }
give_up() {
    printf 'setup: %s\n' "$1" >&2
    if [ -s "$log" ]; then tail -n 5 "$log" | sed 's/^/  /' >&2; fi
    printf 'setup: the whole story is in build/%s\n' "${log##*/}" >&2
    exit 1
}

# Ends the script if the environment is complete, also if another script made it while we waited for
# the lock. Otherwise removes an older or incomplete one.
leave_if_made() {
    if is_made; then exit 0; fi
    mkdir -p "$root/build"
    exec 9> "$venv.lock"
    flock 9
    if is_made; then exit 0; fi
    rm -rf "$venv"
    : > "$log"
}

new_venv() {
    /usr/bin/python3 -m venv "$venv" >> "$log" 2>&1 ||
        give_up "could not make a Python environment; is the Debian package python3-venv there?"
}
