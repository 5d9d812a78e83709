# shellcheck shell=bash
# What an ordinary user needs: a virtual environment in the checkout, HTCondor, a launcher. Sourced by prepare.sh.
: "${here:?}" # the checkout; its root is the current folder

# Make .venv fit for "demo" or "test" (which includes the other); costs nothing when it already is.
environment() {
    local kind=$1 want python
    take_lock
    want="$(cat "$here/pyproject.toml" "$here/pool/constraints.txt" | cksum) $here"
    if ! environment_works; then
        python=$(find_python)
        "$python" -m venv --clear "$here/.venv"
    elif [[ $(cat "$here/.venv/ready-$kind" "$here/.venv/ready-test" 2>/dev/null) == *"$want"* ]]; then
        release_lock
        return
    fi
    install_packages "$kind"
    echo "$want" >"$here/.venv/ready-$kind"
    release_lock
}

# One make at a time prepares this checkout. The kernel frees the lock if this script is killed.
take_lock() {
    exec {lock}>"$here/build/.lock"
    flock --nonblock "$lock" || {
        say "waiting for another make in this checkout"
        flock "$lock"
    }
}

release_lock() {
    exec {lock}>&-
    lock=''
}

# A server that fails for a moment is asked again: pip by itself asks no further once a download has begun.
install_packages() {
    local what=".[plot]" tries pip=("$here/.venv/bin/python" -m pip install --quiet --disable-pip-version-check)
    [[ $1 == demo ]] || what=".[$1]"
    # A newer Python may need newer packages than those that were tried.
    "$here/.venv/bin/python" -I -c 'import sys; sys.exit(sys.version_info >= (3, 15))' &&
        pip+=(--constraint "$here/pool/constraints.txt")
    say "installing Python packages into $here/.venv (a minute or two, this once)"
    for tries in 1 2 3; do
        # Without build isolation, in which pip would take the newest setuptools.
        run "${pip[@]}" --upgrade setuptools && run "${pip[@]}" --no-build-isolation --editable "$what" && return
        ((tries == 3)) || run sleep 5
    done
    fail "pip could not install the packages (above is why): with a network or a package mirror run this again"
}

# A virtual environment dies when its interpreter goes away or changes its version, and when the checkout is moved.
environment_works() {
    grep -qF "$here/.venv" "$here/.venv/bin/activate" 2>/dev/null &&
        "$here/.venv/bin/python" -I -c "$new_enough"' and find_spec("pip")
sys.exit(not good)' 2>/dev/null
}

readonly new_enough='import sys
from importlib.util import find_spec
good = sys.version_info >= (3, 11)'

# The path of a Python that can make a virtual environment (on Debian venv is a package of its own).
find_python() {
    local name path
    for name in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        path=$(command -v "$name") || continue
        if "$path" -I -c "$new_enough"' and find_spec("venv") and find_spec("ensurepip")
sys.exit(not good)' 2>/dev/null; then
            echo "$path"
            return
        fi
    done
    return 1
}

# See to what this user misses for a target: install it where that needs no password, else say in one sentence what to
# type.
provide() {
    local packages
    # shellcheck disable=SC2046  # words
    set -- $(needs "$1")
    [[ $here != *[\"\$\`\\:]* ]] ||
        fail "$here contains one of \" \$ \` \\ :, with which pip or venv fail: move the checkout to a path without them"
    mkdir -p "$here/build" 2>/dev/null && [[ -w $here ]] ||
        fail "$here cannot be written by $(id -un): copy the checkout to a folder of yours and run make there"
    mapfile -t packages < <(missing "$@")
    ((${#packages[@]})) || return 0
    if ! command -v apt-get >/dev/null; then
        fail "not installed: ${packages[*]} (as Debian names them): install Python 3.11 or newer with venv, and HTCondor as https://htcondor.org/downloads says, then run this again"
    elif ! sudo -n true 2>/dev/null; then
        fail "not installed: run \`sudo apt-get install ${packages[*]}\`, then this again"
    fi
    apt_install "${packages[*]}" sudo -n "$here/pool/apt-install.sh" "${packages[@]}" || exit 2
    mapfile -t packages < <(missing "$@")
    ((${#packages[@]} == 0)) || fail "${packages[*]} of this system is too old: install it by hand (Python 3.11 or newer, HTCondor)"
}

# What a target needs of the machine: the tests also drive a browser, and kill hooks at their system calls.
needs() {
    case $1 in
    demo) echo python htcondor ;;
    check) echo python htcondor ;;
    test | soak) echo python htcondor browser strace ;;
    screenshots) echo python htcondor browser ;;
    *) echo python ;;
    esac
}

# Names of the Debian packages that this user misses for the things named, see needs.
missing() {
    local need
    for need; do
        case $need in
        python) environment_works || find_python >/dev/null || echo python3-venv ;;
        htcondor) command -v condor_master >/dev/null || echo minicondor ;;
        browser) command -v chromium-headless-shell chromium chromium-browser google-chrome >/dev/null || echo chromium-headless-shell ;;
        strace) command -v strace >/dev/null || echo strace ;;
        esac
    done
}

# Install packages, named in $1, by the command that follows; its many lines are shown only if it fails.
apt_install() {
    local log=$here/build/apt.log
    say "installing Debian packages: $1"
    shift
    "$@" >"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    say "apt-get failed (its last lines are above, all of them in $log)"
    return 1
}

# Write the program that a person types afterwards; $1 is how they type it.
launcher() {
    local path=$here/build/faser-align
    cat >"$path.new" <<EOF
#!/usr/bin/env bash
# Made by pool/prepare.sh: faser-align of this checkout, wherever you are, and whatever Python's variables name.
unset PYTHONHOME PYTHONPATH
FASER_ALIGN_COMMAND=$(printf %q "$1")
export FASER_ALIGN_COMMAND
exec $(printf %q "$here/.venv/bin/faser-align") "\$@"
EOF
    chmod 755 "$path.new"
    mv -f "$path.new" "$path"
}
