"""`kumotwist policy-test`: users' own Lua tests of their policy, on a clock and an outside world that they script."""
