#!/bin/sh
# usage: ./setup.sh [TARGET] [VARIABLE=VALUE]...
# Installs the Debian packages that are missing for TARGET, builds dbisl, then runs `make TARGET ...`. A bare Debian 12
# has no make, so this is the way in: `./setup.sh` builds, `./setup.sh demo` trains and compares on synthetic scans,
# `./setup.sh check` runs the tests.
set -eu
cd "$(dirname "$0")"

build="gcc libc6-dev make pkg-config libzstd-dev libarchive-dev libjansson-dev libxxhash-dev zlib1g-dev libhdf5-dev libnifti2-dev libdnnl-dev librandom123-dev"
tests="g++ libcmocka-dev bats parallel zstd zip unzip procps mandoc python3 python3-numpy python3-scipy python3-nibabel python3-h5py"
style="clang-format cppcheck shellcheck mandoc"

wanted=$build
for argument in "$@"; do
    case $argument in
    -h | --help)
        sed -n '2,5s/^# //p' "$0"
        exit 0
        ;;
    check* | units) wanted="$wanted $tests" ;;
    lint) wanted="$wanted $style" ;;
    esac
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    cat >&2 <<END
setup.sh: this is no Debian, and the names of its packages are unknown here. Please install
  - GNU make 4.3 or later, GCC 10 or later, pkg-config
  - with headers: zstd, libarchive, jansson, xxHash, zlib, HDF5, nifticlib with NIfTI-2, oneDNN 2, Random123
  - for the tests: a C++ compiler, cmocka, bats, GNU parallel, zstd, Python 3 with numpy, scipy, nibabel, h5py
and then run: make $*
END
    exit 1
fi

missing=
for package in $wanted; do
    case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done

if [ -n "$missing" ]; then
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "setup.sh: neither root nor sudo; as root run: apt-get install$missing" >&2
            exit 1
        }
        sudo="sudo "
    fi
    # The package lists of a fresh machine are empty or old. A repository that does not answer must not stop the script
    # before it has tried to install.
    line="${sudo}apt-get update -qq; ${sudo}env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends$missing"
    echo "$line"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    sh -c "$line" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        echo "setup.sh: the packages could not be installed" >&2
        exit 1
    }
    rm -f "$log"
    trap - EXIT
fi

make -j "$(nproc)" all
[ $# -eq 0 ] || exec make "$@"
