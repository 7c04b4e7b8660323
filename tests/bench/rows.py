"""What is measured: each row is one kind of load."""
import dataclasses
import sys


@dataclasses.dataclass(frozen=True)
class Row:
    """One load: fio's rw, block size in bytes, requests in flight."""
    name: str
    rw: str
    block: int
    depth: int


ALL = [
    Row("4k-randread-qd32", "randread", 4 << 10, 32),
    Row("4k-randwrite-qd32", "randwrite", 4 << 10, 32),
    Row("4k-randread-qd1", "randread", 4 << 10, 1),
    Row("4k-randwrite-qd1", "randwrite", 4 << 10, 1),
    Row("64k-randread-qd16", "randread", 64 << 10, 16),
    Row("64k-randwrite-qd16", "randwrite", 64 << 10, 16),
    Row("1m-read-qd8", "read", 1 << 20, 8),
    Row("1m-write-qd8", "write", 1 << 20, 8),
]


def chosen(patterns):
    """The rows named, or with these parts in their names; all of them for an empty string."""
    names = {row.name for row in ALL}
    wanted = [row for row in ALL if not patterns or any(p == row.name or (p not in names and p in row.name)
                                                        for p in patterns.split(","))]
    if not wanted:
        sys.exit(f"no row matches '{patterns}': {', '.join(row.name for row in ALL)}")
    return wanted
