# shellcheck shell=bash
# Root's way: the same command in a copy of the checkout that belongs to an ordinary user. Sourced by prepare.sh.

: "${here:?}" # the checkout; its root is the current folder

readonly user=faser-align
readonly home=/var/lib/faser-align
# Variables of root that matter to the user's run; everything else (HOME, a Python that only root can read) stays out.
readonly kept='^(TERM|LANG|LC_[A-Z]+|TZ|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|SOURCE_DATE_EPOCH|PYTEST_ADDOPTS|TRIALS|SEED|TESTS|CI|(http|https|ftp|no|all)_proxy|(HTTP|HTTPS|FTP|NO|ALL)_PROXY|PIP_[A-Z_]+|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)$'

as_root() {
    local target=$1 packages
    copy=$home/checkouts/$(basename "$here" | tr -c 'A-Za-z0-9._\n-' _)-$(cksum <<<"$here" | cut -d ' ' -f 1)
    if [[ $target == clean ]]; then
        clean_as_root
        return
    fi
    mkdir -p "$here/build"
    # The owner of the checkout may run make without sudo next.
    trap 'chown -R --reference="$here" -- "$here/build" 2>/dev/null || true' EXIT
    take_lock # kept to the end: the next one replaces the copy in which this one runs
    make_user
    copy_checkout
    # shellcheck disable=SC2046  # words
    mapfile -t packages < <(as_user "$copy/source/pool/prepare.sh" missing $(needs "$target"))
    if ((${#packages[@]})) && command -v apt-get >/dev/null; then
        apt_install "${packages[*]}" "$here/pool/apt-install.sh" "${packages[@]}" || exit 2
    fi
    root_launcher
    run become_user env "FASER_ALIGN_COMMAND=$(printf '%q' "$here/build/faser-align")" "$copy/source/pool/prepare.sh" "$target"
    case $target in
    docs) bring_back build/site ;;
    refresh | screenshots) bring_back docs ;;
    esac
}

# What a target has made in the copy belongs here, too.
bring_back() {
    as_user tar -C "$copy/source" --create --file=- --exclude=__pycache__ "$@" | tar -C "$here" --extract --no-same-owner --file=-
}

make_user() {
    id "$user" >/dev/null 2>&1 ||
        useradd --system --user-group --create-home --home-dir "$home" --shell /bin/bash \
            --comment 'runs the HTCondor pool of faser-align' "$user"
    chmod a+x -- "$home" # other users with a browser here can open a report by its path
}

# Become the user for good (no parent is left that would turn a signal into SIGKILL, as runuser's does).
become_user() {
    local name
    cd "$home" || exit 2
    while read -r name; do
        [[ $name =~ $kept ]] || unset "$name" 2>/dev/null || true
    done < <(compgen -e)
    export HOME=$home USER=$user LOGNAME=$user SHELL=/bin/bash
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    umask 022
    exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"
}

as_user() (
    become_user "$@"
)

# A fresh copy replaces the last one, so that a file that vanished here vanishes there; what was built there is kept.
# The user unpacks it, and so owns it whatever the modes are here.
copy_checkout() {
    # shellcheck disable=SC2016  # the user's shell expands this
    tar -C "$here" --create --file=- --exclude=./.git --exclude=./.venv --exclude=./build --exclude='./.*_cache' \
        --exclude=./.hypothesis --exclude=./src/faser_align.egg-info --exclude=__pycache__ . |
        as_user bash -ec '
            mkdir -p "$1" && cd "$1"
            rm -rf new old && mkdir new && mkdir -p source
            tar -C new --extract --file=-
            for kept in .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis; do
                [ ! -e "source/$kept" ] || mv "source/$kept" "new/$kept"
            done
            mv source old && mv new source # renames only: hooks of a campaign may start just now
            rm -rf old' bash "$copy"
}

# Like the user's launcher, but it becomes the user first. It stays in the current folder if the user may enter it.
root_launcher() {
    local path=$here/build/faser-align
    {
        cat <<'EOF'
#!/usr/bin/env bash
# Made by pool/prepare.sh: faser-align for root, run as the ordinary user whose jobs HTCondor accepts.
if [ "$(id -u)" != 0 ]; then
    echo "faser-align: only root can use this launcher: run make demo in a checkout of your own" >&2
    exit 2
fi
EOF
        printf 'user=%q home=%q program=%q\n' "$user" "$home" "$copy/source/.venv/bin/faser-align"
        printf 'command=%q\n' "$(printf '%q' "$path")"
        cat <<'EOF'
where=$PWD
cd / || exit 1
exec setpriv --reuid="$user" --regid="$user" --init-groups env -i HOME="$home" USER="$user" LOGNAME="$user" \
    PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin LANG="${LANG-C.UTF-8}" TERM="${TERM-dumb}" \
    ${COLUMNS:+"COLUMNS=$COLUMNS"} FASER_ALIGN_COMMAND="$command" \
    sh -c 'cd -- "$1" 2>/dev/null || cd; shift; exec "$@"' sh "$where" "$program" "$@"
EOF
    } >"$path.new"
    chmod 755 "$path.new"
    mv -f "$path.new" "$path"
}

clean_as_root() {
    if [[ -x $copy/source/pool/prepare.sh ]]; then
        as_user "$copy/source/pool/prepare.sh" clean
    fi
    rm -rf -- "$copy"
    remove_built
}
