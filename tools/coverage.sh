# coverage.sh: what the tests run, measured and reported. For ./dev, which sources it.
# shellcheck shell=bash

measure_python() {  # ENGINE [PYTEST'S ARGUMENTS]
    local build=$top/build/coverage engine=$1
    shift
    export COVERAGE_RCFILE=$top/tools/coverage_report/python.ini COVERAGE_FILE=$build/python/data
    # only the others are named: tests that are about one choose it where the run leaves it open
    if [[ $engine != auto ]]; then export LINUX_AIO_ENGINE=$engine LINUX_AIO_ENGINE_ONLY=1; fi
    PYTHONPATH=$build LINUX_AIO_BUILD=$build LINUX_AIO_COVERAGE=1 \
        python -P -m coverage run -m pytest --rootdir="$top" -o testpaths=tests \
        -o cache_dir=build/cache/pytest --timeout=600 "$@"
}

report_coverage() {
    local build=$top/build/coverage
    logged coverage-combine python -P -m coverage combine --rcfile=tools/coverage_report/python.ini \
        --data-file="$build/python/data" "$build/python"
    logged coverage-json python -P -m coverage json --rcfile=tools/coverage_report/python.ini \
        --data-file="$build/python/data" -o "$build/python.json"
    logged gcovr gcovr --root "$top" --filter src/ --object-directory "$build" "$build" \
        --exclude-throw-branches --exclude-unreachable-branches --json "$build/cpp.json" \
        --html-details "$build/cpp/index.html"
    PYTHONPATH=$top/tools python -P -m coverage_report "$build/cpp.json" "$build/python.json"
}
