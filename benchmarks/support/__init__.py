"""What the workloads share: contenders, models and data before the clock, the checks after it."""
