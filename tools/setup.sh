# setup.sh: installs what a command needs. For ./dev, which sources it.
# shellcheck shell=bash

install_packages() {  # PACKAGE...
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    (($#)) || return 0
    command -v apt-get >/dev/null || fail "this is no Debian: install what gives $*"
    if ((EUID)); then
        command -v sudo >/dev/null || fail "there is no sudo: as root, apt-get install $*"
        apt=(sudo "${apt[@]}")
    fi
    say "installing Debian's $*"
    logged apt-update "${apt[@]}" update || echo "going on with the old package lists"
    logged apt-install "${apt[@]}" install -y --no-install-recommends "$@"
}

have_header() {  # NAME
    "$cxx" -fsyntax-only -x c++ - <<<"#include <$1>" 2>/dev/null
}

have_fuzzer() {
    clang++ -fsanitize=fuzzer,address -x c++ -o /dev/null - 2>/dev/null \
        <<<'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, decltype(sizeof 0)) { return 0; }'
}

have_python() {  # STATEMENT
    command -v "$python" >/dev/null && "$python" -c "$1" 2>/dev/null
}

# The Debian packages that are not there: the compiler and Python, and of those named.
missing_packages() {  # [PACKAGE]...
    local package find_python_h='open(sysconfig.get_path("include") + "/Python.h")'
    for package in g++ python3-dev python3-venv "$@"; do
        case $package in
            g++) command -v "$cxx" >/dev/null ;;
            python3-dev) have_python "import sysconfig; $find_python_h" ;;
            python3-venv) have_python 'import venv, ensurepip' ;;
            libaio-dev) have_header libaio.h ;;
            liburing-dev) have_header liburing.h ;;
            debian-archive-keyring) [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] ;;
            pkgconf) command -v pkg-config >/dev/null ;;
            libclang-rt-dev) have_fuzzer ;;
            *) command -v "$package" >/dev/null ;;
        esac || echo "$package"
    done
}

need_packages() {  # [PACKAGE]...
    local missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    install_packages "${missing[@]}"
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]} == 0)) || fail "${missing[*]} installed, but $(type -P "$python") and $cxx" \
        "don't find them. PYTHON=/usr/bin/python3 ./dev uses Debian's Python."
}

make_venv() {
    local identity
    identity="$("$python" -VV), in $top"
    if [[ $(cat .venv/identity 2>/dev/null) != "$identity" ]]; then
        say "making .venv with $("$python" -V)"
        logged venv "$python" -m venv --clear .venv
        echo "$identity" >.venv/identity
    fi
    export PATH="$top/.venv/bin:$PATH"
}

# Installs groups of requirements-dev.txt. A copy of the group in .venv says that it is there.
need_tools() {  # GROUP...
    local group wanted list
    make_venv
    for group in "$@"; do
        wanted=$(sed -n "/^# \[$group\]$/,/^$/p" requirements-dev.txt)
        list=.venv/$group.txt
        if [[ $(cat "$list" 2>/dev/null) != "$wanted" ]]; then
            say "installing from PyPI:" "$(sed -n 's/ ==.*//p' <<<"$wanted" | paste -sd' ')"
            echo "$wanted" >"$list.new"
            logged "pip-$group" .venv/bin/python -m pip install --progress-bar off -r "$list.new"
            mv "$list.new" "$list"
        fi
    done
}

# The libraries to compare with are nobody's business but the benchmark's: they have an environment
# of their own. One that can't be had is shown as failing.
need_peers() {
    local venv=build/bench-venv wanted requirement
    wanted="$(cat .venv/identity; sed -n '/^# \[bench\]$/,/^$/p' requirements-dev.txt)"
    [[ $(cat "$venv/identity" 2>/dev/null) != "$wanted" ]] || return 0
    say "installing from PyPI into $venv:" \
        "$(sed -n 's/^\([a-z]*\) ==.*/\1/p' <<<"$wanted" | paste -sd' ')"
    logged bench-venv "$python" -m venv --clear "$venv"
    while read -r requirement; do
        logged "pip-bench-${requirement%% *}" \
            "$venv/bin/python" -m pip install --progress-bar off "${requirement// /}" ||
            echo "going on without $requirement"
    done < <(grep ' == ' <<<"$wanted")
    echo "$wanted" >"$venv/identity"
}
