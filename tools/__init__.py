"""What the makefile runs: nothing here is installed."""
