# A variable that nobody set, a command that fails, names that others use as well: as scripts of many authors do.
if [ "$ALRB_noGreeting" = "" ]; then false; fi
file="not yours" status=5 run= step=99 raw=
shopt -s extglob
alias asetup='source "$ATLAS_LOCAL_ROOT_BASE/user/asetup.sh"'
[ -n "$ALRB_never_set" ]
