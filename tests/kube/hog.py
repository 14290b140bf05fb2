"""Joins a container's memory group and takes memory until the kernel has killed something of it.

A container is the kernel's first choice (its oom_score_adj is near 1000), so it dies of this and not the hog, which then ends
by itself: a group with a process in it cannot be removed."""

import os
import pathlib
import sys
import time

GROUP = pathlib.Path(sys.argv[1])


def kills():
    lines = (GROUP / "memory.oom_control").read_text().splitlines()
    return int(dict(line.split() for line in lines)["oom_kill"])


before = kills()
(GROUP / "cgroup.procs").write_text(str(os.getpid()))
limit = int((GROUP / "memory.limit_in_bytes").read_text())
taken = []
while kills() == before:
    large = sum(map(len, taken)) < limit * 0.8
    taken.append(b"x" * (8 << 20 if large else 1 << 18))
    time.sleep(0 if large else 0.02)
