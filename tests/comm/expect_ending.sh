#!/bin/sh
# expect_ending.sh STATUS COMMAND...: the command must end with this status and exactly one line of Gyre's own on standard error.
expected=$1
shift
errors=$("$@" 2>&1 >/dev/null)
status=$?
lines=$(printf '%s\n' "$errors" | grep -c '^gyre: error: ')
printf '%s\nstatus %s, %s lines of Gyre\n' "$errors" "$status" "$lines"
[ "$status" -eq "$expected" ] && [ "$lines" -eq 1 ]
