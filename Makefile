# The work is done by pool/prepare.sh, which any shell can call as well; CONTRIBUTING.md tells how.

.PHONY: help demo check test soak lint types docs refresh screenshots clean

help:
	@echo 'make demo    run a whole alignment campaign on this machine: simulated data, real HTCondor, a message'
	@echo 'make check   style, types and the quick tests, which need no pool: before each commit'
	@echo 'make test    everything needed for the tests, then style, types and all tests, also those on a real pool'
	@echo 'make soak    more of the same: TRIALS=200 disturbed campaigns, a kill at every step, new examples; TESTS=... for a part'
	@echo 'make lint    style only            make types   types only'
	@echo 'make docs    the site of the documentation, into build/site'
	@echo 'make refresh what the documentation takes from the code, made anew; make screenshots: its pictures'
	@echo 'make clean   stop what still runs and remove what these commands made'

demo check test soak lint types docs refresh screenshots clean:
	@./pool/prepare.sh $@
