#!/bin/bash
# Installs what building, running and testing BareFlow needs on Debian 12, and fetches the
# third-party sources. If nothing is missing, it is quick and says nothing.
# It never edits the machine's apt configuration and starts no service.
set -euo pipefail
export LC_ALL=C

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
log="$root/build/setup.log"

usage() {
    cat <<'TEXT'
usage: tools/setup/setup.sh [--list] [--help] [GROUP ...]

Groups (default: build run test):
  build     compiler, linker, assembler, third-party sources
  run       QEMU
  test      GoogleTest, pytest, numpy, clang-format, clang-tidy, promtool, Python packages (build/venv)
  train     numpy and PyTorch, to train the small model
  bench     all that the benchmarks need, with `reference`
  reference llama.cpp to compare with, built from source (build/reference-venv; 15 minutes)
  browser   a browser, to look at /profile in tests

  --list    print the groups' Debian packages and stop
Exit status: 0 all is there, 1 something could not be installed, 2 wrong arguments.
TEXT
}

packages_of() {
    case "$1" in
        build) echo clang-19 lld-19 llvm-19 nasm make python3 xz-utils ;;
        run) echo qemu-system-x86 python3 ;;
        test) echo libclang-rt-19-dev clang-format-19 clang-tidy-19 libgtest-dev libgmock-dev gdb \
            qemu-system-x86 python3 python3-pytest python3-numpy python3-venv git curl ;;
        train) echo python3 python3-numpy python3-torch libopenblas0-pthread ;;
        bench) echo clang-19 python3 python3-numpy python3-venv qemu-system-x86 ;;
        reference) echo clang-19 python3 python3-venv ;;
        browser) echo chromium ;;
        *) return 1 ;;
    esac
}

say() { printf 'setup: %s\n' "$*"; }
complain() { printf 'setup: %s\n' "$*" >&2; }

# Prints those of the named packages that are not installed.
missing_of() {
    dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2> /dev/null |
        awk -v want="$*" '
            $1 == "ii" || $1 == "hi" { have[$2] = 1 }
            END { n = split(want, w, " "); for (i = 1; i <= n; i++) if (!(w[i] in have)) print w[i] }'
}

groups=()
list=no
for word in "$@"; do
    case "$word" in
        -h | --help) usage; exit 0 ;;
        --list) list=yes ;;
        -*) complain "unknown option '$word' (see --help)"; exit 2 ;;
        *)
            packages_of "$word" > /dev/null || { complain "unknown group '$word' (see --help)"; exit 2; }
            groups+=("$word")
            ;;
    esac
done
[ ${#groups[@]} -gt 0 ] || groups=(build run test)

wanted="$(for group in "${groups[@]}"; do packages_of "$group"; done | tr ' ' '\n' | sort -u)"
if [ "$list" = yes ]; then
    printf '%s\n' "$wanted"
    exit 0
fi
mapfile -t wanted <<< "$wanted"

if ! command -v dpkg-query > /dev/null; then
    complain "this machine has no dpkg; set-up knows Debian 12 only. It would install: ${wanted[*]}"
    exit 1
fi

mapfile -t missing < <(missing_of "${wanted[@]}")

install_missing() {
    local as_root=() status=0
    local by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo > /dev/null && { [ -t 0 ] || sudo -n true 2> /dev/null; }; then
            as_root=(sudo)
        else
            complain "these Debian packages are missing, and neither root nor sudo is at hand:"
            complain "  ${missing[*]}"
            complain "as root, run:"
            complain "  $by_hand"
            return 1
        fi
    fi
    mkdir -p "$root/build"
    : > "$log"
    say "installing Debian packages: ${missing[*]}"
    say "reading package lists (apt-get update)"
    "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update >> "$log" 2>&1 ||
        complain "apt-get update had errors (build/setup.log); going on with the lists there are"
    say "apt-get install (a few minutes on a fresh machine; progress in build/setup.log)"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y \
        install --no-install-recommends "${missing[@]}" >> "$log" 2>&1 || status=$?
    mapfile -t missing < <(missing_of "${wanted[@]}")
    if [ ${#missing[@]} -gt 0 ]; then
        complain "could not get these Debian packages: ${missing[*]}"
        complain "is the network there, and does this machine's apt know Debian 12 (bookworm, main)?"
        tail -n 5 "$log" | sed 's/^/  apt: /' >&2
        complain "the whole story is in build/setup.log; by hand: $by_hand"
        return 1
    fi
    if [ "$status" != 0 ]; then
        complain "apt-get ended with status $status though every package is there; see build/setup.log"
    fi
    say "packages installed"
}

if [ ${#missing[@]} -gt 0 ]; then install_missing || exit 1; fi

for group in "${groups[@]}"; do
    case "$group" in
        build) "$root/third_party/fetch.sh" || exit 1 ;;
        test)
            # Only this one program: the package would start a server.
            if [ ! -x "$root/build/tools/promtool" ] && ! command -v promtool > /dev/null; then
                "$root/third_party/fetch.sh" --tool prometheus usr/bin/promtool \
                    "$root/build/tools/promtool" || exit 1
            fi
            "$root/tools/setup/make_venv.sh" || exit 1
            ;;
        bench | reference) "$root/tools/setup/make_reference.sh" || exit 1 ;;
    esac
done
