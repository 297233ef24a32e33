"""The instrument: measures bench_core so that its figures can be believed."""
