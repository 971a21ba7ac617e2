# packages.sh: the Debian packages that building (and testing) mote needs. Sourced by tools/quickstart and tests/run.
PACKAGES_BUILD="gcc g++ cmake ninja-build pkg-config libc6-dev liburing-dev libaio-dev libblkid-dev liblz4-dev libzstd-dev libutf8proc-dev libstemmer-dev libjemalloc-dev"
PACKAGES_TEST="clang libclang-rt-14-dev libcriterion-dev python3 sqlite3 libsqlite3-dev wordnet-base zstd e2fsprogs util-linux binutils"

# install_packages NAME...: installs those that are missing, as root or through sudo; says so first, and does nothing where all are there.
install_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] && return
    echo "installing: ${missing[*]}" >&2
    local root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "neither root nor sudo: install these packages first: ${missing[*]}" >&2; return 1; }
        root=(sudo)
    fi
    export DEBIAN_FRONTEND=noninteractive
    "${root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
        { "${root[@]}" apt-get update -q >/dev/null && "${root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null; }
}
