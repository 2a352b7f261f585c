# lint.sh: types and style. For ./dev, which sources it.
# shellcheck shell=bash

check_mypy() {
    mypy --strict linux_aio tests examples tools/coverage_report
}

# Inside a build, which has the stub beside the extension module; the source tree has only the stub.
check_stubs() {
    cd build/builtin
    python -m mypy.stubtest linux_aio._core
}

# Named, since outside a git checkout ruff would also read build/.
python_folders() {
    local folder
    for folder in linux_aio tests examples benchmarks docs debian tools; do
        if [[ -d $folder ]]; then printf '%s\0' "$folder"; fi
    done
}

check_ruff() {
    python_folders | xargs -0 ruff check
}

check_ruff_format() {
    python_folders | xargs -0 ruff format --check
}

cpp_sources() {  # EXTENSION|...
    find src tests -regextype posix-extended -regex ".*\.($1)" -print0
}

check_clang_format() {
    cpp_sources "c|h|cpp|hpp" | xargs -0r clang-format --dry-run -Werror
}

check_clang_tidy() {
    configure tidy
    find src tests/cpp -name '*.cpp' -print0 | xargs -0r -n 1 -P "$(nproc)" clang-tidy -p build/tidy --quiet
}

check_shell() {
    shellcheck -x dev .ci/run tests/stress/fuzz/ring/build debian/tests/at-build debian/tests/installed \
        debian/tests/smoke tools/packaging/deb tools/packaging/deb-build tools/packaging/deb-check \
        tools/packaging/in-debian tools/packaging/source-package tools/packaging/time64 tools/packaging/wheel \
        tools/free-threaded && shellcheck -a -x dev
}
