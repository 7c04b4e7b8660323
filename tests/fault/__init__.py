"""The fault table's parts: rows, one run, the table."""
