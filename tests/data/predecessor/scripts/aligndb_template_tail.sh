#AtlCoolCopy "sqlite://;schema=./FASER-01_ALLP200.db;dbname=CONDBR3" "sqlite://;schema=x" -fnp -ot "TRACKER-ALIGN-01"
AtlCoolCopy "sqlite://;schema=./FASER-06_ALLP200.db;dbname=CONDBR3" "sqlite://;schema=x" -fnp -ot "TRACKER-ALIGN-06"
