# For tools/setup/make_venv.sh and tools/setup/make_reference.sh, which source it: a Python environment in build/
# that counts as whole only when is_made() of the script says so; one script at a time.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

# name_venv NAME "$@": names the environment and its log; answers --help from the script's own first lines.
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

# Ends the script when the environment is there, also when somebody else made it while we waited.
# Otherwise nothing is left of an older one.
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
