"""My benchmarks: one file a subject, one class a question."""
