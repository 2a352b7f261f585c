# steps.sh: the steps of a command, which are all run, and a summary of them. For ./dev, which sources it.
# shellcheck shell=bash

results=()  # a line for each step so far
skipped=()  # what pytest skipped, and why
failed=()  # the tests that failed
failures=0
step_ok=
planned=  # how many steps there will be, where that was counted
counting=

# Runs one step of many: a failure is noted, and the others go on. Not to be called in a condition,
# where bash would ignore `set -e` inside.
step() {  # TITLE COMMAND...
    local title=$1 start=$SECONDS status result=ok
    if [[ -n $counting ]]; then
        planned=$((planned + 1)) step_ok=1
        return 0
    fi
    shift
    say "${planned:+[$((${#results[@]} + 1)) of $planned] }$title"
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

# Shows how far a ninja is that works for long. For `logged`.
show_progress() {  # NINJA...
    "$@" 3>&- 2>&1 | awk -F '[][/]' '
        { print }
        /^\[/ && $3 >= 20 && int(4 * $2 / $3) > shown {
            shown = int(4 * $2 / $3)
            print "   " 25 * shown " % of " $3 " steps" > "/dev/stderr"
        }' 2>&3
}

# Counts the steps of a function, so that each can say which of how many it is.
count_steps() {  # FUNCTION [ARGUMENTS]
    planned=0 counting=true
    "$@"
    counting=
}

summary() {
    say summary
    printf '%s\n' "${results[@]}" "${skipped[@]}"
    if ((failures)); then
        if ((${#failed[@]})); then printf '%s\n' "${failed[@]}"; fi
        echo "$failures of ${#results[@]} steps failed"
        exit 1
    fi
    echo "all ${#results[@]} steps passed"
}
