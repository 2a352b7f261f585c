# steps.sh: the steps of a command, which are all run, and a summary of them. For ./dev, which sources it.
# shellcheck shell=bash

results=()  # a line for each step so far
skipped=()  # what pytest skipped, and why
failures=0
step_ok=

# Runs one step of many: a failure is noted, and the others go on. Not to be called in a condition,
# where bash would ignore `set -e` inside.
step() {  # TITLE COMMAND...
    local title=$1 start=$SECONDS status result=ok
    shift
    say "$title"
    set +e
    (
        set -e
        "$@"
    )
    status=$?
    set -e
    step_ok=$((status == 0))
    if ((status)); then
        result=FAILED
        failures=$((failures + 1))
    fi
    results+=("$(printf '%-6s %5d s  %s' "$result" $((SECONDS - start)) "$title")")
}

summary() {
    say summary
    printf '%s\n' "${results[@]}" "${skipped[@]}"
    if ((failures)); then
        echo "$failures of ${#results[@]} steps failed"
        exit 1
    fi
    echo "all ${#results[@]} steps passed"
}
