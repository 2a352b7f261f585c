# variants.sh: the builds, each of which has a name. For ./dev, which sources it.
# shellcheck shell=bash

# Tells what a variant is, in variables of the caller: title, options, sanitizers, and engines, for
# each of which it is tested.
describe() {  # VARIANT
    local buildtype=debugoptimized libaio=disabled uring=enabled tests=true werror=true pch=true
    sanitizers='' engines=()
    case $1 in
        # one build without, as Debian and pip build: it fails if a file does not include what it uses
        system) title="system libaio" libaio=enabled engines=(aio) pch=false ;;
        builtin) title="built-in libaio" engines=(auto aio uring threads) ;;
        asan) title="AddressSanitizer and UBSan" sanitizers=address,undefined engines=(auto) ;;
        tsan) title="ThreadSanitizer" sanitizers=thread engines=(auto) ;;
        coverage) title="coverage" buildtype=debug ;;
        # not built: clang can't read what g++ has precompiled
        tidy) title=clang-tidy pch=false ;;
        demo) title=$1 buildtype=release libaio=auto uring=auto tests=false ;;
        bench) title=$1 buildtype=release libaio=auto tests=false ;;
        *) fail "there is no variant $1" ;;
    esac
    # with sanitizers g++ warns of what is not so
    if [[ -n $sanitizers ]]; then werror=false; fi
    options=("-Dbuildtype=$buildtype" "-Dlibaio=$libaio" "-During=$uring" "-Dtests=$tests"
        "-Dwerror=$werror" -Db_pch=$pch -Db_colorout=auto)
    if [[ $1 == coverage ]]; then
        options+=(-Db_coverage=true "-Dcpp_args=${CXXFLAGS:-} -fprofile-update=atomic")
    fi
    # compiled with -O2 they take twice the time; reports of them name lines, no variables
    if [[ -n $sanitizers ]]; then
        options+=("-Db_sanitize=$sanitizers" -Db_lundef=false -Doptimization=1
            "-Dcpp_args=${CXXFLAGS:-} -g1")
    fi
}

configure() {  # VARIANT
    local dir=build/$1 title options sanitizers engines identity
    describe "$1"
    identity="$(cat .venv/identity .venv/build.txt) ${options[*]} $cxx ${CXXFLAGS:-}"
    if [[ ! -f $dir/build.ninja || $(cat "$dir/identity" 2>/dev/null) != "$identity" ]]; then
        rm -rf "$dir"
        logged "setup-$1" meson setup "$dir" "${options[@]}" || return
        echo "$identity" >"$dir/identity"
    fi
}

build() {  # VARIANT
    configure "$1" || return
    logged "build-$1" show_progress ninja -C "build/$1"
}
