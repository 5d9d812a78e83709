# asetup --input=FILE RELEASE
if grep -q "^asetup:fail" "@folder@/orders"; then
    echo "asetup: ERROR: release $2 not found" >&2
    return 3
fi
[ -r "${1#--input=}" ] || { echo "asetup: ERROR: no ${1#--input=}" >&2; return 1; }
[ "$2" = "Athena,24.0.41" ] || { echo "asetup: ERROR: unknown release $2" >&2; return 1; }
export AtlasVersion="${2#Athena,}"
grep -q "^asetup:empty" "@folder@/orders" || export PATH="$ATLAS_LOCAL_ROOT_BASE/athena:$PATH"
export PYTHONPATH="$ATLAS_LOCAL_ROOT_BASE/athena/lib" PYTHONHOME=/nowhere LD_PRELOAD=
trap - EXIT
