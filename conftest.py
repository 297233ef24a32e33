"""Lets pytest collect the benchmark classes in benchmarks/."""

pytest_plugins = ["harness.pytest_plugin"]
