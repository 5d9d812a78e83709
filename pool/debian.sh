#!/usr/bin/env bash
# Run make targets on a bare Debian of another release: pool/debian.sh SUITE [TARGET ...], or SUITE -- COMMAND ...
#
# SUITE is what debootstrap knows (testing, stable, trixie ...), targets are demo and test unless named. The system is a folder,
# which the first run makes and later runs use again; the checkout is copied into it each time. Root's rules hold there as on any
# bare machine (pool/as-root.sh). Needs root and debootstrap; asks nothing.
#
# Everything runs in namespaces of its own: whatever way this script ends, the kernel ends all processes and mounts with it.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly here place=${FASER_ALIGN_DEBIAN:-/var/cache/faser-align}

say() { printf 'faser-align: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 2
}

# shellcheck source=pool/as-root.sh
source "$here/pool/as-root.sh" # for the names of variables that matter to a run

main() {
    [[ ${1-} =~ ^[a-z][a-z0-9-]*$ ]] || fail "usage: pool/debian.sh SUITE [TARGET ...] or pool/debian.sh SUITE -- COMMAND ..."
    [[ $(id -u) == 0 ]] || fail "a chroot needs root: sudo pool/debian.sh $*"
    command -v debootstrap >/dev/null || fail "debootstrap is not installed: apt-get install debootstrap"
    umask 022
    mkdir -p -- "$place"
    exec {lock}>"$place/$1.lock"
    flock --nonblock "$lock" || fail "$place/$1 is in use by another run"
    trap 'kill -KILL "$inside" 2>/dev/null || true' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child "${BASH_SOURCE[0]}" --inside "$@" <&0 &
    inside=$!
    wait "$inside"
}

inside() {
    local root=$place/$1 began=$SECONDS failed=() target
    [[ -d $root ]] || make_system "$1" "$root"
    configure "$root"
    # An interrupted run leaves packages half-configured.
    enter "$root" sh -c 'dpkg --configure -a && apt-get -qq update && apt-get -y install ca-certificates make' >"$root.log" 2>&1 || {
        tail -n 20 "$root.log" >&2
        fail "apt-get failed in $root (above are its last lines; all are in $root.log)"
    }
    copy_into "$root/root/faser-align"
    shift
    if [[ ${1-} == -- ]]; then
        enter "$root" env -C /root/faser-align "${@:2}"
        return
    fi
    (($#)) || set -- demo test
    for target; do
        began=$SECONDS
        enter "$root" make -C /root/faser-align "$target" || failed+=("$target")
        say "make $target took $((SECONDS - began)) s"
    done
    say "$(versions "$root"): ${failed[*]:+failed: }${failed[*]:-all passed}"
    ((${#failed[@]} == 0))
}

# The base system, complete or not there at all.
make_system() {
    say "making Debian $1 in $2 (some minutes, this once)"
    rm -rf -- "$2.new"
    debootstrap --variant=minbase "$1" "$2.new" "$(mirror)" >"$2.log" 2>&1 || {
        tail -n 20 "$2.log" >&2
        fail "debootstrap failed (above are its last lines; all are in $2.log)"
    }
    echo "$1" >"$2.new/etc/faser-align-suite"
    mv -- "$2.new" "$2"
}

# Where this machine's own apt gets Debian from.
mirror() {
    # shellcheck disable=SC2016  # apt-get expands this
    MIRROR=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -E '^https?:' | grep -v security | head -n 1)}
    [[ -n $MIRROR ]] || fail "apt of this machine names no mirror of Debian: give one, MIRROR=http://... pool/debian.sh ..."
    echo "$MIRROR"
}

# Network, certificates, apt and pip as on this machine; the clock of a mirror may be late.
configure() {
    local root=$1 suite
    suite=$(cat "$root/etc/faser-align-suite")
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    cp -L /etc/hosts /etc/resolv.conf "$root/etc/"
    [[ ! -f /etc/pip.conf ]] || cp /etc/pip.conf "$root/etc/"
    [[ ! -f /etc/ssl/certs/ca-certificates.crt ]] || cp /etc/ssl/certs/ca-certificates.crt "$root$certificates"
    [[ ! -d /etc/apt/auth.conf.d ]] || cp -a /etc/apt/auth.conf.d "$root/etc/apt/"
    echo "deb $(mirror) $suite main" >"$root/etc/apt/sources.list"
    {
        apt-config dump | grep -Ei '^Acquire::(http|https|ftp|socks|Retries)[ :]' || true
        echo 'Acquire::Check-Valid-Until "false";'
        [[ ! -f $root$certificates ]] || echo "Acquire::https::CaInfo \"$certificates\";"
    } >"$root/etc/apt/apt.conf.d/50faser-align"
}
readonly certificates=/etc/faser-align-certificates.pem

# Run a command there as root, with nothing of this shell's environment but what matters to a run.
enter() {
    local root=$1 name variables=()
    while read -r name; do
        case $name in
        PIP_FIND_LINKS | PIP_CONSTRAINT | PIP_CONFIG_FILE | PIP_CERT | SSL_CERT_* | *_CA_BUNDLE) ;; # files of this machine
        *) [[ ! $name =~ $kept ]] || variables+=("$name=${!name}") ;;
        esac
    done < <(compgen -e)
    [[ ! -f $root$certificates ]] || variables+=("SSL_CERT_FILE=$certificates" "PIP_CERT=$certificates" "REQUESTS_CA_BUNDLE=$certificates")
    chroot "$root" env -i HOME=/root USER=root LOGNAME=root SHELL=/bin/sh TERM=dumb LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${variables[@]}" "${@:2}"
}

copy_into() {
    rm -rf -- "$1"
    mkdir -m 700 -- "$1" # only root can read a checkout of root
    tar -C "$here" --create --file=- --exclude=./.git --exclude=./.venv --exclude=./build --exclude='./.*_cache' \
        --exclude=./.hypothesis --exclude='*.egg-info' --exclude=__pycache__ . | tar -C "$1" --extract --no-same-owner --file=-
}

versions() {
    enter "$1" sh -c 'echo "Debian $(cat /etc/debian_version)," \
        "HTCondor $(condor_version 2>/dev/null | sed -n "1s/^[^ ]* \([0-9.]*\).*/\1/p")," "$(python3 --version)"'
}

if [[ ${1-} == --inside ]]; then
    inside "${@:2}"
else
    main "$@"
fi
