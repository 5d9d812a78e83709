# CMD="python $SRC_DIR/faser_reco_alignment.py --noBackward"
asetup --input=$CALYPSO_ASETUP Athena,24.0.42
echo "python WriteAlignmentConfig_Faser06.py 'AlignDbTool.AlignmentConstants={$ALIGN_VAR}'" >>./aligndb_copy.sh
FILE_PATH="/eos/mine/${YEAR}/${RUN}/Faser-Physics-${RUN}-${FILE}.raw"
if [ "$STATIONS" = "3" ]; then
    CMD="python $SRC_DIR/faser_reco_alignment.py \"$FILE_PATH\" --alignment --noForward --noIFT --cond OFLCOND-FASER-06 -r $TAG"
else
    CMD="python $SRC_DIR/faser_reco_alignment.py \"$FILE_PATH\" --alignment --noForward --cond OFLCOND-FASER-06 -r $TAG"
fi
