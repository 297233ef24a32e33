"""Lets pytest collect the benchmark classes in benchmarks/, and its children be interrupted."""

import signal

pytest_plugins = ["harness.pytest_plugin"]

# A shell starts background jobs with interrupts ignored, and every child inherits that: tests that
# interrupt a process would wait for ever where the tests themselves run in the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
