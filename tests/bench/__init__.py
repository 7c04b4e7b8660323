"""The benchmark's parts: rows, one measurement, the report."""
