#!/bin/bash
# Fetches the third-party sources that third_party/pins.tsv names into third_party/<name>/src/.
#
# If all is there, it says nothing. Archives come from the machine's own Debian mirror, through a
# private, temporary apt configuration: `deb-src` works without a change to the user's. Archives are
# kept in third_party/cache/ and checked against the pinned SHA-256 at every run.
set -euo pipefail
export LC_ALL=C

usage() {
    cat <<'TEXT'
usage: third_party/fetch.sh [--offline] [--sources DIR] [--verify | --print-trees] [--help]
       third_party/fetch.sh [--offline] [--sources DIR] --tool PACKAGE PATH TO

Fetches and unpacks what third_party/pins.tsv names; prints nothing if there is nothing to do.

  --offline       use only archives already in third_party/cache/
  --sources DIR   read the apt sources (*.list, *.sources) in DIR, not the machine's own
  --verify        also check every unpacked tree against its pinned hash
  --print-trees   print the hash of every unpacked tree (to write it into pins.tsv)
  --tool          instead: take the file PATH out of Debian's binary PACKAGE and write it as TO;
                  the package is not installed, and any version of the mirror will do
TEXT
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
pins="$here/pins.tsv"
cache="$here/cache"
offline=no
mode=fetch
sources_dir=

while [ $# -gt 0 ]; do
    case "$1" in
        --offline) offline=yes ;;
        --sources) sources_dir="${2:?--sources needs a folder}"; shift ;;
        --verify) mode=verify ;;
        --print-trees) mode=print-trees ;;
        --tool)
            [ $# -ge 4 ] || { echo "fetch.sh: --tool needs PACKAGE PATH TO" >&2; exit 2; }
            mode=tool package="$2" path="$3" to="$4"
            shift 3
            ;;
        -h | --help) usage; exit 0 ;;
        *) echo "fetch.sh: unknown argument '$1' (see --help)" >&2; exit 2 ;;
    esac
    shift
done

fail() { printf 'fetch.sh: %s\n' "$*" >&2; exit 1; }
say() { printf 'third_party: %s\n' "$*"; }

hash_of() { local sum; sum="$(sha256sum -- "$1")" || fail "cannot read $1"; echo "${sum%% *}"; }

# Hash over the names and contents of all files below a folder.
tree_hash() {
    (cd "$1" && find . -type f ! -name .stamp -print0 | sort -z | xargs -0 sha256sum) |
        sha256sum | cut -d' ' -f1
}

# Compares an archive with its pin. If they differ, says what was seen and stops.
check_archive() { # path sha256
    local seen; seen="$(hash_of "$1")"
    [ "$seen" = "$2" ] || fail "archive $1 is not the pinned one
  expected SHA-256 $2
  seen     SHA-256 $seen
Delete that file and run again to fetch it anew; if it differs again, do not use it."
}

# ---------------------------------------------------------------- the private apt configuration

apt_dir=
lock_fd=
cleanup() { [ -z "$apt_dir" ] || rm -rf -- "$apt_dir"; }
trap cleanup EXIT

# Writes copies of the machine's apt sources into $1. A copy has only the main component of this
# Debian release, with deb-src added. It keeps options such as signed-by.
write_sources() {
    local out="$1" list=/dev/null parts=/dev/null n=0 file
    # The release by its name, or as stable, oldstable and so on. A wrong one does no harm: the pins
    # decide which archives are accepted.
    local codename='(bookworm|(old)*stable)'
    if [ -n "$sources_dir" ]; then
        parts="$sources_dir/"
    else
        eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
    fi
    for file in "$list" "$parts"/*.list "$parts"/*.sources; do
        [ -f "$file" ] && [ -r "$file" ] || continue
        n=$((n + 1))
        case "$file" in
            *.sources)
                awk -v code="$codename" '
                    function flush(    i, low, types, suites, comps, on, cont) {
                        on = 1; types = ""; suites = ""; comps = ""
                        for (i = 1; i <= count; i++) {
                            low = tolower(line[i])
                            if (low ~ /^types:/) types = low
                            if (low ~ /^suites:/) suites = low
                            if (low ~ /^components:/) comps = low
                            if (low ~ /^enabled:[ \t]*(no|false|off|0)/) on = 0
                        }
                        if (on && types ~ /[ :\t]deb([ \t]|$)/ && suites ~ code && comps ~ /[ :\t]main([ \t]|$)/) {
                            print "Types: deb deb-src"; print "Components: main"
                            for (i = 1; i <= count; i++) {
                                low = tolower(line[i])
                                cont = (line[i] ~ /^[ \t]/)
                                if (!cont) skip = (low ~ /^(types|components|enabled):/)
                                if (!skip) print line[i]
                            }
                            print ""
                        }
                        count = 0
                    }
                    /^#/ { next }
                    /^[ \t]*$/ { flush(); next }
                    { line[++count] = $0 }
                    END { flush() }' "$file" > "$out/$n.sources"
                ;;
            *)
                awk -v code="$codename" '
                    $1 == "deb" && match($0, /^[ \t]*deb[ \t]+(\[[^]]*\][ \t]+)?/) {
                        head = substr($0, 1, RLENGTH); rest = substr($0, RLENGTH + 1)
                        sub(/[ \t]*#.*/, "", rest)
                        k = split(rest, w, /[ \t]+/)
                        if (k < 3 || w[2] !~ "^" code) next
                        for (i = 3; i <= k; i++) if (w[i] == "main") {
                            sub(/^[ \t]*deb/, "", head)
                            print "deb" head w[1] " " w[2] " main"
                            print "deb-src" head w[1] " " w[2] " main"
                        }
                    }' "$file" > "$out/$n.list"
                ;;
        esac
        [ -s "$out/$n.sources" ] || rm -f "$out/$n.sources"
        [ -s "$out/$n.list" ] || rm -f "$out/$n.list"
    done
    [ -n "$(ls -A "$out")" ] ||
        fail "found no apt source for Debian 12 (bookworm, main) on this machine; add one, or put the
archives that third_party/pins.tsv names into $cache by hand"
}

# Makes $apt_dir, if it is not there yet, and downloads the package indexes into it.
prepare_apt() {
    [ -z "$apt_dir" ] || return 0
    command -v apt-get > /dev/null ||
        fail "apt-get is not here; put the archives that third_party/pins.tsv names into $cache by hand"
    apt_dir="$(mktemp -d "$cache/apt.XXXXXX")"
    mkdir -p "$apt_dir"/{sources,state/lists/partial,cache/archives/partial,download}
    : > "$apt_dir/status"
    write_sources "$apt_dir/sources"
    (
        umask 077
        # Keep the user's Acquire settings (proxy, certificates, retries), but no hooks.
        apt-config dump 2> /dev/null |
            grep -E '^Acquire::' | grep -vE '^Acquire::IndexTargets' > "$apt_dir/apt.conf" || true
        cat >> "$apt_dir/apt.conf" <<TEXT
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt_dir/sources";
Dir::State "$apt_dir/state";
Dir::State::status "$apt_dir/status";
Dir::Cache "$apt_dir/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
TEXT
        # Root would download as user _apt, who may not enter this folder.
        [ "$(id -u)" != 0 ] || echo 'APT::Sandbox::User "root";' >> "$apt_dir/apt.conf"
    )
    say "reading the Debian mirror's package lists"
    APT_CONFIG="$apt_dir/apt.conf" apt-get -qq update > "$apt_dir/update.log" 2>&1 || true
}

private_apt() { local tool="$1"; shift; APT_CONFIG="$apt_dir/apt.conf" "$tool" "$@"; }

apt_said() { # the last lines of a log, indented
    sed 's/^/  apt: /' "$apt_dir/update.log" "$apt_dir/get.log" 2> /dev/null | tail -6 || true
}

# Downloads one archive into the cache. Sets `rebuilt` if the mirror has another build of the
# package than the pinned one: unpack() then relies on the hash of the unpacked files.
rebuilt=no
download() {
    local version_to_get offered found
    rebuilt=no
    [ "$offline" = no ] || fail "archive $cache/$file is missing, and --offline forbids fetching it"
    prepare_apt
    say "fetching $file"
    if [ "$kind" = source ]; then
        # Any revision of the source package will do if it has this very tarball.
        version_to_get="$(private_apt apt-cache showsrc "$package" 2> /dev/null |
            awk -v f="$file" '/^Version:/ { v = $2 } $3 == f { print v; exit }')" || true
        offered="$(private_apt apt-cache showsrc "$package" 2> /dev/null |
            awk '/^Version:/ && !seen[$2]++ { printf "%s%s", s, $2; s = ", " }')" || true
    else
        offered="$(private_apt apt-cache madison "$package" 2> /dev/null |
            awk -F' *[|] *' '$3 !~ /Sources$/ && !seen[$2]++ { printf "%s%s", s, $2; s = ", " }')" || true
        version_to_get=
        case ", $offered," in *", $package_version,"*) version_to_get="$package_version" ;; esac
        if [ -z "$version_to_get" ] && [ -n "$offered" ]; then
            version_to_get="${offered%%,*}"
            rebuilt=yes
            say "the mirror has $package $version_to_get, not the pinned $package_version"
        fi
    fi
    if [ -z "$version_to_get" ]; then
        [ -z "$offered" ] || fail "the Debian mirror no longer has $file
  wanted:  $package $package_version
  offered: $offered
Put the old archive into $cache by hand, or move the pin in third_party/pins.tsv."
        fail "could not get $file (Debian package $package $package_version): the mirror's package
lists could not be read or do not name it. Is the network there?
$(apt_said)"
    fi
    if [ "$kind" = source ]; then
        (cd "$apt_dir/download" && private_apt apt-get -qq source --download-only --tar-only \
            --only-source "$package=$version_to_get") > "$apt_dir/get.log" 2>&1 || true
    else
        (cd "$apt_dir/download" && private_apt apt-get -qq download \
            "$package=$version_to_get") > "$apt_dir/get.log" 2>&1 || true
    fi
    if [ "$rebuilt" = yes ]; then
        found="$(find "$apt_dir/download" -name "${package}_*.deb" | head -n 1)"
    else
        found="$apt_dir/download/$file"
    fi
    [ -n "$found" ] && [ -f "$found" ] ||
        fail "could not download $file (Debian package $package $version_to_get). Is the network there?
$(apt_said)"
    if [ "$rebuilt" = no ]; then
        check_archive "$found" "$sha256"
        mv -f -- "$found" "$cache/$file"
        archive="$cache/$file"
    else
        archive="$found"
    fi
}

# Unpacks $archive, keeps the files that the pin names, and puts them in place in one rename.
unpack() {
    local work="$cache/unpack.$name.$$" pair from to tree
    rm -rf -- "$work"
    mkdir -p "$work/all" "$work/src"
    if [ "$kind" = source ]; then
        tar -xf "$archive" -C "$work/all" --strip-components=1 --no-same-owner ||
            fail "cannot unpack $archive"
    else
        dpkg-deb -x "$archive" "$work/all" || fail "cannot unpack $archive"
    fi
    for pair in $keep; do
        from="${pair%%=*}" to="${pair#*=}"
        [ -e "$work/all/$from" ] || fail "$archive has no $from"
        mkdir -p "$(dirname "$work/src/$to")"
        mv -- "$work/all/$from" "$work/src/$to"
    done
    tree="$(tree_hash "$work/src")"
    if [ "$tree_sha256" != "$tree" ]; then
        if [ "$rebuilt" = yes ]; then
            rm -rf -- "$work"
            fail "the Debian mirror no longer has $package $package_version, and the files in the
version it has differ from the pinned ones
  expected tree SHA-256 $tree_sha256
  seen     tree SHA-256 $tree
Put the old archive $file into $cache by hand, or move the pin in third_party/pins.tsv."
        fi
        [ "$mode" = print-trees ] || { rm -rf -- "$work"; fail "the files unpacked from $archive are not the pinned ones
  expected tree SHA-256 $tree_sha256
  seen     tree SHA-256 $tree"; }
    fi
    printf '%s\n' "$row" > "$work/src/.stamp"
    mkdir -p "$here/$name"
    if [ -e "$here/$name/src" ]; then mv -- "$here/$name/src" "$work/old"; fi
    mv -- "$work/src" "$here/$name/src"
    rm -rf -- "$work"
    say "$name $version is in third_party/$name/src"
}

take_lock() {
    [ -z "$lock_fd" ] || return 0
    mkdir -p "$cache"
    exec {lock_fd}> "$cache/.lock"
    flock "$lock_fd"
    # An interrupted run may have left these.
    rm -rf -- "$cache"/apt.* "$cache"/unpack.*
}

up_to_date() {
    local stamp=
    [ -f "$here/$name/src/.stamp" ] && IFS= read -r stamp < "$here/$name/src/.stamp" || true
    [ "$stamp" = "$row" ]
}

# Takes one file out of a Debian package without installing it. The archive stays in the cache, so
# that `make clean` costs no download.
fetch_tool() {
    local archive work
    take_lock
    archive="$(find "$cache" -maxdepth 1 -name "${package}_*.deb" | sort | tail -n 1)"
    if [ -z "$archive" ]; then
        [ "$offline" = no ] || fail "no ${package}_*.deb in $cache, and --offline forbids fetching it"
        prepare_apt
        say "fetching Debian package $package (for $(basename "$path"))"
        (cd "$apt_dir/download" && private_apt apt-get -qq download "$package") \
            > "$apt_dir/get.log" 2>&1 || true
        archive="$(find "$apt_dir/download" -name "${package}_*.deb" | head -n 1)"
        [ -n "$archive" ] || fail "could not download Debian package $package. Is the network there?
$(apt_said)"
        mv -f -- "$archive" "$cache/"
        archive="$cache/$(basename "$archive")"
    fi
    work="$cache/unpack.$package.$$"
    mkdir -p "$work" "$(dirname "$to")"
    dpkg-deb --fsys-tarfile "$archive" | tar -xf - -C "$work" --no-same-owner "./$path" || {
        rm -rf -- "$work"
        fail "cannot take $path out of $archive; delete that file and run again"
    }
    mv -f -- "$work/$path" "$to"
    rm -rf -- "$work"
    say "$(basename "$to") is ready"
}

if [ "$mode" = tool ]; then
    fetch_tool
    exit 0
fi

[ -r "$pins" ] || fail "cannot read $pins"
while IFS= read -r row; do
    case "$row" in '' | '#'*) continue ;; esac
    IFS=$'\t' read -r name version licence kind package package_version file sha256 tree_sha256 keep \
        <<< "$row"
    [ -n "${keep:-}" ] || fail "pins.tsv: the row of '$name' is too short"
    case "$kind" in source | deb) ;; *) fail "pins.tsv: unknown kind '$kind' for $name" ;; esac

    archive="$cache/$file"
    rebuilt=no
    [ ! -f "$archive" ] || check_archive "$archive" "$sha256"
    if ! up_to_date; then
        take_lock
        if ! up_to_date; then # another run may have done it while we waited for the lock
            [ -f "$archive" ] || download
            unpack
        fi
    fi
    case "$mode" in
        print-trees) printf '%s\t%s\n' "$name" "$(tree_hash "$here/$name/src")" ;;
        verify)
            seen="$(tree_hash "$here/$name/src")"
            [ "$seen" = "$tree_sha256" ] || fail "third_party/$name/src has been changed
  expected tree SHA-256 $tree_sha256
  seen     tree SHA-256 $seen
Delete that folder and run again."
            ;;
    esac
done < "$pins"
