"""SMPP 3.4 as a pure codec and state machine, for the side that sends (the ESME)."""
