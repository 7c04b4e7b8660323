"""Shared parts of the interoperability tests and the benchmark: child processes, targets, servers, clients."""
