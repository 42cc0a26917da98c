#!/bin/bash
# Makes build/venv, a Python environment with exactly the packages of tests/requirements.txt, each
# checked by its hash. If it is there already, the script is quick and says nothing. If the list has
# changed, the environment is made anew.
set -euo pipefail
export LC_ALL=C
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

wanted="$root/tests/requirements.txt"
name_venv venv "$@"
# The copy of the list is written last: if it is there, all else is, too.
is_made() { cmp -s "$wanted" "$venv/requirements.txt"; }
leave_if_made

say "fetching Python packages of the tests (tests/requirements.txt) into build/venv"
new_venv
"${pip[@]}" --only-binary :all: -r "$wanted" >> "$log" 2>&1 ||
    give_up "could not get the Python packages of tests/requirements.txt; can PyPI be reached from here?"
cp "$wanted" "$venv/requirements.txt"
