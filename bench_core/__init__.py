"""Search, transfer, write and load deep-learning models as fast as the machine allows."""

__version__ = "0.1.0"
