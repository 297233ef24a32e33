"""Results of asv, pytest-benchmark and the harness as one table, figures, tables and one page."""
