# The work is done by pool/prepare.sh, which any shell can call as well; CONTRIBUTING.md tells how.

.PHONY: help demo test soak lint types docs refresh screenshots clean

help:
	@echo 'make demo    run a whole alignment campaign on this machine: simulated data, real HTCondor, a message'
	@echo 'make test    everything needed for the tests, then style, types and all tests (on a real pool, too)'
	@echo 'make soak    the tests of faults in full, for hours: TRIALS=200 of campaigns on the pool, a kill at every step'
	@echo 'make lint    style only            make types   types only'
	@echo 'make docs    the site of the documentation, into build/site'
	@echo 'make refresh what the documentation takes from the code, made anew; make screenshots: its pictures'
	@echo 'make clean   stop what still runs and remove what these commands made'

demo test soak lint types docs refresh screenshots clean:
	@./pool/prepare.sh $@
