# lib.sh: what the tests of the command share. Sourced; MOTE is the program under test. Each script ends with `finish`, which prints "N passed, N failed".
set -u
MOTE=$(realpath "${MOTE:?set MOTE to the mote program}")
BIN=$(dirname "$MOTE")
ROOT=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
DATA=${MOTE_DATA:-$ROOT/../shared/data}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/mote-test.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1
PASSED=0 FAILED=0

pass() { PASSED=$((PASSED + 1)); }
fail() {
    FAILED=$((FAILED + 1))
    echo "FAILED $1"
    shift
    [ $# = 0 ] || printf '    %s\n' "$@"
}
# expect NAME EXIT_CODE COMMAND...: stdout and stderr go to the files out and err.
expect() {
    local name=$1 code=$2 got=0
    shift 2
    "$@" >out 2>err </dev/null || got=$?
    if [ "$got" = "$code" ]; then pass; else fail "$name" "exit code $got, expected $code: $*" "$(tail -n 3 err)"; fi
}
# says NAME FILE TEXT: the file contains the text.
says() { if grep -qF -- "$3" "$2"; then pass; else fail "$1" "expected \"$3\" in:" "$(head -n 5 "$2")"; fi; }
same() { if cmp -s "$2" "$3"; then pass; else fail "$1" "$(diff <(head -c 100000 "$2") <(head -c 100000 "$3") | head -n 6)"; fi; }
equal() { if [ "$2" = "$3" ]; then pass; else fail "$1" "found $2, expected $3"; fi; }
at_least() { if [ "$2" -ge "$3" ]; then pass; else fail "$1" "found $2, expected at least $3"; fi; }
# json FILE KEY: the number or word behind a key.
json() { grep -o "\"$2\":[^,}]*" "$1" | head -n 1 | cut -d: -f2- | tr -d '"'; }
volume() { "$MOTE" format --quiet --sparse --size "${2:-128M}" "$1" || exit 1; }
finish() {
    echo "$PASSED passed, $FAILED failed"
    [ "$FAILED" = 0 ]
}
