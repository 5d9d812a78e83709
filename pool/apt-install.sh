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

# A machine that has just started often updates itself: apt-get waits by itself for the lock of dpkg, not for that of the lists.
tries=0
until said=$(apt-get --option DPkg::Lock::Timeout=300 update 2>&1); do
    printf '%s\n' "$said"
    tries=$((tries + 1))
    case $said in
    *lists/lock*) [ "$tries" -lt 60 ] || exit 1 ;;
    *) exit 1 ;;
    esac
    sleep 5
done
apt-get --option DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"

if [ -z "$had_condor" ] && command -v condor_master >/dev/null && command -v systemctl >/dev/null; then
    systemctl disable condor.service
fi
