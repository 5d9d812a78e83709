export CALYPSO_SETUP="$AtlasVersion"
[ -z "$CALYPSO_SETUP" ]
