"""The subcommands of `edge-build`, one a file."""
