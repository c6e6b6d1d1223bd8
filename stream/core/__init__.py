"""The pure core: no clock, socket, thread, log, environment or randomness. Time comes in as an argument."""
