"""Joins a container's memory group as what the kernel kills last, and takes memory until it is ended."""

import os
import pathlib
import sys
import time

pathlib.Path("/proc/self/oom_score_adj").write_text("-1000")
(pathlib.Path(sys.argv[1]) / "cgroup.procs").write_text(str(os.getpid()))
limit = int((pathlib.Path(sys.argv[1]) / "memory.limit_in_bytes").read_text())
taken = []
while sum(map(len, taken)) < limit * 0.9:
    taken.append(b"x" * (8 << 20))
while True:
    time.sleep(0.05)
    # The rest in small pieces: allocations fail once nobody is left to kill.
    taken.append(b"x" * (1 << 18))
