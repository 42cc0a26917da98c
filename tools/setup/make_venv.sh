#!/bin/bash
# Makes build/venv, a Python environment with exactly the packages of tests/requirements.txt, each
# checked by its hash. Quiet and quick when it is there already; made anew when the list changed.
set -euo pipefail
export LC_ALL=C
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

wanted="$root/tests/requirements.txt"
name_venv venv "$@"
# Written last, so an environment with it is a whole one.
is_made() { cmp -s "$wanted" "$venv/requirements.txt"; }
leave_if_made

say "fetching Python packages of the tests (tests/requirements.txt) into build/venv"
new_venv
"${pip[@]}" --only-binary :all: -r "$wanted" >> "$log" 2>&1 ||
    give_up "could not get the Python packages of tests/requirements.txt; can PyPI be reached from here?"
cp "$wanted" "$venv/requirements.txt"
