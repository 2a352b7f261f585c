# tests.sh: runs the tests of a build, with what its sanitizers need. For ./dev, which sources it.
# shellcheck shell=bash

# Tells, in the caller's array environment, what a program built with sanitizers runs with. Python,
# which is not, has their runtime loaded before anything else, and libstdc++, whose functions
# AddressSanitizer looks up at its start. Their reports would get lost in what pytest holds back:
# AddressSanitizer's go to files; UBSan's, which beside it heeds no log_path, past pytest.
sanitizer_environment() {  # SANITIZERS cpp|python
    local -A runtimes=([address]=libasan.so [undefined]=libubsan.so [thread]=libtsan.so)
    local common=abort_on_error=1:halt_on_error=1:print_stacktrace=1 name libraries=()
    common+=:log_path=$top/$logs/sanitizer  # threads of ours have no standard error
    if [[ $2 == python ]]; then
        # leaks are not looked for: Python itself doesn't free everything at its end
        common+=:detect_leaks=0
        for name in ${1//,/ }; do libraries+=("${runtimes[$name]}"); done
        libraries+=(libstdc++.so.6)
        for name in "${!libraries[@]}"; do
            libraries[name]=$("$cxx" -print-file-name="${libraries[name]}")
        done
        environment=("LD_PRELOAD=${libraries[*]}" PYTHONMALLOC=malloc PYTEST_ADDOPTS=--capture=sys)
    fi
    environment+=("UBSAN_OPTIONS=$common")
    common+=:allocator_may_return_null=1  # tests ask for too much
    environment+=("ASAN_OPTIONS=$common")
    # What ThreadSanitizer keeps of each number, to see who waits for whom by files, is of no use, and
    # makes it crash, where threads have different files of one number, as ours and the program's.
    common+=:die_after_fork=0:io_sync=0:suppressions=$top/tools/sanitizers/thread.supp
    environment+=("TSAN_OPTIONS=$common")
}

test_cpp() {  # VARIANT SANITIZERS
    local environment=()
    if [[ -n $2 ]]; then sanitizer_environment "$2" cpp; fi
    rm -f "$logs"/sanitizer.*
    env "${environment[@]}" meson test -C "build/$1" --no-rebuild --suite cpp --print-errorlogs \
        --timeout-multiplier 4 && return
    cat "$logs"/sanitizer.* 2>/dev/null
    return 1
}

# One step, and which checks failed in it, for the summary: the lines of each test that failed which
# don't say "ok", or how it ended if there are none.
cpp_step() {  # TITLE VARIANT SANITIZERS
    local title=$1 report=build/$2/meson-logs/testlog.json
    rm -f "$report"
    step "$title" test_cpp "${@:2}"
    ((step_ok)) || [[ ! -s $report ]] || mapfile -t -O "${#failed[@]}" failed < <(
        python3 - "$title" "$report" <<'END'
import json
import sys

title, report = sys.argv[1:]
with open(report, encoding="utf-8") as lines:
    for test in map(json.loads, lines):
        if test["result"] not in {"OK", "SKIP"}:
            said = [line for line in test["stdout"].splitlines() if not line.startswith("ok: ")]
            name = test["name"].partition(":")[2]
            print(f"failed in {title}: {name}: " + "; ".join(said or [test["result"]])[:500])
END
    )
}

# What the extension leaks, beside what Python itself doesn't free at its end: the records of
# LeakSanitizer that name its sources. Unwinding the stacks of all allocations, so that they do, is slow:
# hence not all tests, and none that end with operations in flight, whose memory is left on purpose.
test_leaks() {
    local environment=() build=$top/build/asan leaks
    sanitizer_environment address,undefined python
    environment=("${environment[@]/detect_leaks=0/detect_leaks=1:fast_unwind_on_malloc=0:exitcode=0}")
    rm -f "$logs"/sanitizer.*
    env "${environment[@]}" PYTHONPATH="$build" LINUX_AIO_BUILD="$build" python -P -m pytest \
        --rootdir="$top" -p no:cacheprovider -q tests/api/test_eventfd.py tests/api/test_getevents.py \
        tests/api/test_operation.py tests/api/test_vectors.py || return
    grep -q 'leak of' "$logs"/sanitizer.* || fail "LeakSanitizer has not looked"
    leaks=$(awk -v RS= '/leak of/ && / [.\/]*src\/(python|engine|libaio)\//' "$logs"/sanitizer.*)
    [[ -z $leaks ]] || { echo "$leaks"; return 1; }
}

# valgrind must see events pass through io_getevents to know that the kernel wrote to a buffer.
test_valgrind() {
    LINUX_AIO_USER_RING=0 meson test -C build/builtin --no-rebuild --suite cpp --print-errorlogs \
        --timeout-multiplier 20 --wrap "valgrind -q --error-exitcode=9 --leak-check=full \
        --errors-for-leak-kinds=definite,possible \
        --suppressions=$top/tools/sanitizers/valgrind.supp"
}

# Several at once, each with a part of the tests. Many tests wait, so that one more than there are
# processors are at work. --dist=loadgroup keeps the tests of one xdist_group in one of them.
in_parallel() {
    local workers=$(($(nproc) + 1))
    echo "--numprocesses=$((workers < 16 ? workers : 16))" --dist=loadgroup
}

# Hangs end: pytest-timeout fails a test that still takes signals, else faulthandler ends the run;
# a hang outside the tests, as of a thread left over at the end, is ended by timeout.
# A report in a file fails the run even if it came from a child process that nobody asked about.
# Tests that use no engine are run with `auto` only.
test_python() {  # VARIANT SANITIZERS ENGINE [ARGS]
    local build=$top/build/$1 path=$top/build/$1 engine=$3 environment=() status=0 report
    if [[ -n $2 ]]; then sanitizer_environment "$2" python; fi
    if [[ $2 == *address* ]]; then path+=:$top/tools/sanitizers; fi  # for sitecustomize.py
    if [[ $engine != auto ]]; then environment+=(LINUX_AIO_ENGINE_ONLY=1); fi
    shift 3
    rm -f "$logs"/sanitizer.*
    timeout --foreground --kill-after=30 25m \
        env "${environment[@]}" PYTHONPATH="$path" LINUX_AIO_BUILD="$build" \
        LINUX_AIO_ENGINE="$engine" LINUX_AIO_REPORT="$build/report-$engine" \
        python -P -m pytest --rootdir="$top" -o testpaths=tests -o cache_dir=build/cache/pytest \
        --timeout=300 -o faulthandler_timeout=360 -o faulthandler_exit_on_timeout=true "$@" ||
        status=$?
    # none of those that are named uses an engine
    if ((status == 5)) && [[ $engine != auto ]]; then status=0; fi
    for report in "$logs"/sanitizer.*; do
        [[ -e $report ]] || continue
        # a refused allocation is a MemoryError, which tests provoke, and no finding
        grep -qv 'WARNING: [A-Za-z]*Sanitizer failed to allocate' "$report" || continue
        cat "$report"
        status=1
    done
    return "$status"
}

# One step, and what failed in it and what it skipped, for the summary.
python_step() {  # TITLE VARIANT SANITIZERS ENGINE [ARGS]
    local title=$1 report=build/$2/report-$4
    rm -f "$report"
    step "$title" test_python "${@:2}"
    [[ -s $report ]] || return 0
    mapfile -t -O "${#skipped[@]}" skipped < <(sed -n "s/^skipped:/skipped in $title:/p" "$report")
    mapfile -t -O "${#failed[@]}" failed < <(sed -n "s/^failed:/failed in $title:/p" "$report")
}

# One build, the tests that are not long with `auto`, and with each other engine those of them that are
# about engines: what everybody runs before a commit.
short_tests() {
    local engine
    step "built-in libaio: build" build builtin
    ((step_ok)) || return 0
    cpp_step "C++ tests" builtin ""
    # shellcheck disable=SC2046  # words are meant
    python_step "Python tests, engine auto, but the long ones" builtin "" auto $(in_parallel) \
        -m "not long"
    for engine in aio uring threads; do
        # shellcheck disable=SC2046
        python_step "Python tests of engines, engine $engine, but the long ones" \
            builtin "" "$engine" $(in_parallel) -m "not long and not above_engines"
    done
    step "types: mypy" check_mypy
    step "types: stubtest" check_stubs
    step "style: ruff check" check_ruff
    step "style: ruff format" check_ruff_format
}

# What short_tests leaves out: the long tests, those above the other engines, the system's libaio,
# sanitizers.
other_tests() {
    local engine
    step "built-in libaio: build" build builtin
    if ((step_ok)); then
        # shellcheck disable=SC2046
        python_step "long Python tests, engine auto" builtin "" auto $(in_parallel) -m long
        for engine in aio uring threads; do
            # shellcheck disable=SC2046
            python_step "the other Python tests, engine $engine" \
                builtin "" "$engine" $(in_parallel) -m "long or above_engines"
        done
        # these are skipped where their packages are not installed
        python_step "Dask, pandas and xarray" builtin "" auto tests/filesystems/test_frameworks.py \
            tests/project/test_examples.py
    fi
    variant_tests system -m "not long and not above_engines"
    variant_tests asan -m "not without_sanitizers"
}

all_tests() {
    short_tests
    other_tests
}

# All tests of one build, or those that pytest's arguments select.
variant_tests() {  # VARIANT [ARGS]
    local variant=$1 title options sanitizers engines engine
    describe "$variant"
    step "$title: build" build "$variant"
    ((step_ok)) || return 0
    cpp_step "$title: C++ tests" "$variant" "$sanitizers"
    for engine in "${engines[@]}"; do
        # shellcheck disable=SC2046
        python_step "$title: Python tests, engine $engine" \
            "$variant" "$sanitizers" "$engine" $(in_parallel) "${@:2}"
    done
}

# What pytest is told to run, with each engine, one test after the other.
named_tests() {  # VARIANT [ARGS]
    local variant=$1 title options sanitizers engines engine
    describe "$variant"
    step "$title: build" build "$variant"
    ((step_ok)) || return 0
    for engine in "${engines[@]}"; do
        python_step "$title: pytest, engine $engine" \
            "$variant" "$sanitizers" "$engine" "${@:2}"
    done
}

sanitized_tests() {  # VARIANT
    variant_tests "$1" -m "not without_sanitizers"
    if [[ $1 == asan ]]; then step "leaks of the extension" test_leaks; fi
}

valgrind_tests() {
    step "built-in libaio: build" build builtin
    step "C++ tests under valgrind" test_valgrind
}
