"""What the commands do, behind their words: planning, asking HTCondor, reading and changing campaigns."""
