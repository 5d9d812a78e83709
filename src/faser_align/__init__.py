"""faser-align: iterative detector alignment on HTCondor, one persisted state machine per campaign."""

__version__ = "0.1.0"
