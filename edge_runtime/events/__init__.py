"""What happened: state machines over tracks and time, without I/O and without a clock."""
