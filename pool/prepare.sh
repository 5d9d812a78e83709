#!/usr/bin/env bash
# Prepare this checkout and do one thing with it: pool/prepare.sh demo|check|test|soak|lint|types|docs|refresh|screenshots|clean
#
# An ordinary user gets a virtual environment in the checkout. HTCondor refuses jobs of root, so for root everything
# happens in a copy that belongs to the user faser-align (pool/as-root.sh). Asks nothing, needs no terminal, and
# stops what it starts, also when it is interrupted.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly here
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin # HTCondor's daemons and useradd; PATH of an ordinary user may lack them
unset "${!PYTHON@}"                        # a view's PYTHONPATH or PYTHONHOME would replace packages of .venv, or Python itself

say() { printf 'faser-align: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 2
}

# shellcheck source=pool/environment.sh
source "$here/pool/environment.sh"
# shellcheck source=pool/as-root.sh
source "$here/pool/as-root.sh"

child='' signalled=0 lock='' short='' dist='' types=''
# Ctrl-C reaches the child by itself, as it does every process of the terminal's job; the others go to one process.
trap 'signalled=130' INT
trap 'signalled=143; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM
trap 'signalled=129; [[ -z $child ]] || kill -HUP "$child" 2>/dev/null || true' HUP

# Run a command (or a function that ends in exec) and wait for its end, also when a signal comes in between.
run() {
    local status
    ((signalled == 0)) || exit "$signalled"
    (
        trap - INT TERM HUP # background processes of a script ignore Ctrl-C by default
        [[ -z $lock ]] || exec {lock}>&- # a pool would hold it for as long as it runs
        if [[ $(type -t "$1") == function ]]; then
            "$@"
        else
            exec "$@"
        fi
    ) </dev/null &
    child=$!
    while :; do
        status=0
        wait "$child" || status=$?
        kill -0 "$child" 2>/dev/null || break
    done
    child=''
    ((signalled == 0)) || exit "$signalled"
    return "$status"
}

demo() {
    local command
    provide demo
    environment demo
    command=${FASER_ALIGN_COMMAND:-$(printf '%q' "$here/build/faser-align")}
    launcher "$command"
    FASER_ALIGN_COMMAND=$command run "$here/.venv/bin/faser-align" demo
}

lint() {
    provide lint
    environment test
    check_style
}

types() {
    provide types
    environment test
    run "$here/.venv/bin/mypy"
}

# What is quick: style, types and the tests that need no pool.
check() {
    style_types_and quick_tests "make check"
}

tests() {
    style_types_and run_tests "make test"
}

# Neither style nor types keep the tests from running. Types take one processor, so they are checked beside the tests.
style_types_and() {
    local failed=()
    provide "${target/tests/test}"
    environment test
    check_style || failed+=(style)
    scratch_folder "$(in_memory)"
    (
        trap - INT TERM HUP
        [[ -z $lock ]] || exec {lock}>&-
        exec "$here/.venv/bin/mypy"
    ) </dev/null >"$scratch/types" 2>&1 &
    types=$!
    compile_tests
    "$1" || failed+=(tests)
    wait "$types" || failed+=(types)
    types=''
    ((signalled == 0)) || exit "$signalled"
    cat -- "$scratch/types"
    ((${#failed[@]} == 0)) || fail "$2: failed: ${failed[*]}"
}

# In a fresh checkout each of the workers would compile everything for itself.
compile_tests() {
    [[ -d $here/tests/__pycache__ ]] || run "$here/.venv/bin/python" -m pytest --quiet --collect-only >/dev/null || true
}

quick_tests() {
    FASER_ALIGN_QUICK=1 FASER_ALIGN_TEST_FOLDER=$scratch run "$here/.venv/bin/python" -m pytest --quiet --numprocesses 3 --dist loadfile \
        --basetemp "$scratch/t" -m "not pool and not slow"
}

# The tests named (all without names), eight at a time on two processors: most tests on a pool wait, and what needs the processor
# runs beside them. The folder has a short name, since each worker lengthens it.
run_tests() {
    short=$(mktemp -d "${scratch%/*}/fa-XXXX")
    FASER_ALIGN_TEST_FOLDER=$scratch run "$here/.venv/bin/python" -m pytest --numprocesses 8 --dist "${dist:-loadfile}" \
        --no-loadscope-reorder --basetemp "$short/t" "$@"
}

# What `make test` does only in part: a kill at every step, TRIALS campaigns of each kind on the pool (SEED repeats a run's
# plans), and properties held against examples that nobody has seen. TESTS chooses a part of it: files, folders or tests.
soak() {
    local files
    provide soak
    environment test
    scratch_folder "$(in_memory)"
    export FASER_ALIGN_SOAK=1 FASER_ALIGN_TRIALS=${TRIALS:-200} FASER_ALIGN_SEED=${SEED:-0}
    read -ra files <<<"${TESTS:-$(soaked | tr '\n' ' ')}"
    dist=worksteal # a hook's kills take minutes: not two hooks to the same worker while the other has none
    run_tests "${files[@]}" || fail "make soak: failed"
}

# The files that do more in `make soak`.
soaked() {
    grep --recursive --files-with-matches --include='test_*.py' --extended-regexp \
        '\bSOAK\b|FASER_ALIGN_SOAK|^from (hypothesis|trials) import' tests | sort
}

# What the documentation takes from the code.
refresh() {
    provide refresh
    environment demo
    run "$here/.venv/bin/python" -m faser_align.cli.refresh
}

# The pictures of the documentation: of a demonstration that is made and removed for that.
screenshots() {
    provide screenshots
    environment test
    scratch_folder
    XDG_STATE_HOME=$scratch FASER_ALIGN_POOL=$scratch/pool run "$here/.venv/bin/python" "$here/docs/screenshots.py" "$scratch"
}

check_style() {
    local status=0
    run "$here/.venv/bin/ruff" check --quiet . || status=$?
    run "$here/.venv/bin/ruff" format --quiet --check . || status=$?
    return "$status"
}

# A short path outside /tmp, where DAGMan refuses to work. The folder is removed at the end, and those of killed runs at the start.
scratch_folder() { # [FOLDER]
    remove_left
    scratch=${1:-/var/tmp}/faser-align-$(id -un)-$$
    mkdir -m 700 -- "$scratch"
    trap '[[ -z $types ]] || kill "$types" 2>/dev/null || true; remove_scratch "$scratch"' EXIT
}

# The folder of files in memory, if it has room and may hold programs. Thousands of tests sync files to the disk, for nothing.
in_memory() {
    local free program
    program=/dev/shm/faser-align-$(id -un)-$$
    free=$(df --output=avail --block-size=1M /dev/shm 2>/dev/null | tail -n 1) || true
    if ((${free:-0} >= 4096)) && cp -- /bin/true "$program" 2>/dev/null && "$program" 2>/dev/null; then
        echo /dev/shm
    else
        echo /var/tmp
    fi
    rm -f -- "$program"
}

# The folders of scripts that were killed.
remove_left() {
    local left
    for left in {/var/tmp,/dev/shm}/faser-align-"$(id -un)"-*; do
        [[ -O $left ]] || continue
        if [[ ${left##*-} == $$ ]] || ! kill -0 "${left##*-}" 2>/dev/null; then
            remove_scratch "$left"
        fi
    done
}

# pytest stops the pool by itself unless it was killed. What ends just now may write a last file while its folder goes; that
# something is left is said, and no failure of the tests.
remove_scratch() {
    local pool tries
    for pool in "$1"/pool "$1"/gw*/pool; do
        stop_pool "$pool" || say "could not stop the pool in $pool"
    done
    for tries in 1 2 3 4 5; do
        rm -rf -- "$1" ${short:+"$short"} 2>/dev/null && return
        sleep "$tries"
    done
    rm -rf -- "$1" ${short:+"$short"} || say "could not remove $1"
}

# Needs no virtual environment: the module uses the standard library only.
stop_pool() {
    local python
    [[ -d $1 ]] || return 0
    python=$(working_python) || return 1
    "$python" -I -c 'import sys; sys.path.insert(0, sys.argv[1]); from faser_align.pool import tidy; tidy.main(*sys.argv[2:])' \
        "$here/src" "${@:1}"
}

working_python() {
    if environment_works; then
        echo "$here/.venv/bin/python"
    else
        find_python
    fi
}

clean() {
    local python places pool state
    remove_left
    # Python knows the folders: it resolves links and ignores variables that name no absolute path.
    if python=$(working_python) && places=$("$python" -I -c 'import sys; sys.path.insert(0, sys.argv[1])
from faser_align.fsm.errors import UserError
from faser_align.pool.personal import default_folder
from faser_align.system.account import state_folder
try:
    print(default_folder(), state_folder(), sep="\n")
except UserError as problem:
    sys.exit(f"the pool and demonstrations stay: {problem}")' "$here/src"); then
        pool=${places%%$'\n'*} state=${places##*$'\n'}
        if stop_pool "$pool" "$state/demo"; then
            rm -rf -- "$pool" "$state/demo"
            # The registry forgets the campaigns of demonstrations as well.
            { grep -lF -- "$state/demo/" "$state"/campaigns/*.json 2>/dev/null || true; } | xargs -r -d '\n' rm -f --
            say "removed the pool and the campaigns of demonstrations in $state"
        fi
    fi
    remove_built
    say "removed .venv and build in $here"
}

remove_built() {
    rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis src/faser_align.egg-info
    find . -name __pycache__ -type d -prune -exec rm -rf {} +
}

main() {
    cd "$here"
    case ${1-} in
    demo | check | soak | lint | types | docs | refresh | screenshots | clean | missing) target=$1 ;;
    test) target=tests ;;
    *) fail "usage: pool/prepare.sh demo|check|test|soak|lint|types|docs|refresh|screenshots|clean" ;;
    esac
    if [[ $(id -u) == 0 ]]; then
        as_root "$1"
    else
        "$target" "${@:2}"
    fi
}

main "$@"
