"""The subcommands of ``bench-core``, one file each; `command` is what the file defines."""
