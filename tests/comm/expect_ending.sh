#!/bin/sh
# expect_ending.sh STATUS PATTERN COMMAND...: the command must end with this status (or any but 0) and exactly one line of Gyre's own on
# standard error, which fits the pattern. Without a pattern: status 0, and no line.
expected=$1
pattern=$2
shift 2
errors=$("$@" 2>&1 >/dev/null)
status=$?
lines=$(printf '%s\n' "$errors" | grep -c '^gyre: error: ')
fitting=$(printf '%s\n' "$errors" | grep -cE "^gyre: error: $pattern\$")
printf '%s\nstatus %s, %s lines of Gyre, %s as expected: %s\n' "$errors" "$status" "$lines" "$fitting" "$pattern"
[ -z "$pattern" ] && { [ "$status" -eq 0 ] && [ "$lines" -eq 0 ]; exit; }
[ "$status" = "$expected" ] || { [ "$expected" = any ] && [ "$status" -ne 0 ]; } || exit 1
[ "$lines" -eq 1 ] && [ "$fitting" -eq 1 ]
