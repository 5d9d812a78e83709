#!/bin/sh
# Install Debian packages as root, without questions and without starting services: apt-install.sh PACKAGE ...
#
# HTCondor's package would start a pool of the whole machine, now and at every boot. Ours belongs to one user.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
had_condor=$(command -v condor_master || true)

apt() { apt-get --option DPkg::Lock::Timeout=300 --option Acquire::Retries=3 "$@"; }

# A machine that has just started often updates itself: apt-get waits by itself for the lock of dpkg, not for that of the lists.
# A server that fails for a moment is asked again.
update() {
    tries=0
    until said=$(apt update 2>&1); do
        printf '%s\n' "$said"
        tries=$((tries + 1))
        case $said in
        *lists/lock*) [ "$tries" -lt 60 ] || return 1 ;;
        *) [ "$tries" -lt 3 ] || return 1 ;;
        esac
        sleep 5
    done
}

update
again=0
until apt install --yes --no-install-recommends "$@"; do
    again=$((again + 1))
    [ "$again" -lt 3 ] || exit 1
    sleep 5
    update # the lists may name what the server has no more
done

if [ -z "$had_condor" ] && command -v condor_master >/dev/null && command -v systemctl >/dev/null; then
    systemctl disable condor.service
fi
