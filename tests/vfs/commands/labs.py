"""How a student does each lab: real commands on its mount, with the numbers of its tasks.

T1, T2 ... are the numbers in each task's text, in their order.  Answers are measured where that can
be done, so that the program's own are compared with what the mount does.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from ..helpers import DEADLINE

__all__ = ["LABS", "UNREAD", "solve", "tasks_of"]

NUMBER: Final = re.compile(r"\b(?:0x[0-9a-f]+|\d+)\b")

LABS: Final = {
    1: """
set -- $T1; dd if=scullv0 bs=1M count=1 iflag=skip_bytes skip=$3 status=none | wc -c > scull1
set -- $T2; echo $(($(dd if=scullv0 of=/dev/null bs=$2 2>&1 | sed -n 's/ records in//p'))) > scull2
set -- $T3; dd if=scullv0 of=scullv1 bs=$1 count=1 iflag=fullblock status=none
""",
    2: """
q=$(stat -c %o scullv0); size=$(stat -c %s scullv0); holes=
for n in $(seq 0 $(((size - 1) / q))); do
    [ $(dd if=scullv0 bs=$q skip=$n count=1 status=none | wc -c) = 0 ] && holes="$holes $n"
done
for n in $holes; do
    dd if=/dev/zero of=scullv0 bs=$q seek=$n count=1 conv=notrunc status=none
done
echo $holes > scull1
set -- $T3; printf x | dd of=scullv1 bs=1 seek=$(($1 - 1)) status=none
cat sys/class/scullv/scullv1/items > scull2
""",
    3: """
set_to() { echo $1 > $P/scullv_order; echo $2 > $P/scullv_qset; }
P=sys/module/scullv/parameters
set_to $T2; echo x > scullv1
set_to $T3; echo x > scullv2
set -- $T5; low=1 high=524288; echo 1 > $P/scullv_qset; echo $1 > $P/scullv_order
while [ $((high - low)) -gt 1 ]; do
    middle=$(((low + high) / 2))
    if echo $middle 2>/dev/null > $P/scullv_qset; then low=$middle; else high=$middle; fi
done
echo $low > scull1
set -- $T4; echo 1 > $P/scullv_qset; set_to $1 $2
""",
    4: """
quantum() { sed -n "/^Device 0/,/^Device 1/s/^ *$2://p" proc/$1; }
entry() { od -An -t x8 -N 8 -j $((4096 + $1 + 8 * $2)) proc/kcore | tr -d ' '; }
set -- $T1; address=$((0x$(quantum scullvmem $2) + 4096 * $1))
table=$((0x$(head -c 4096 proc/kcore | grep -ao 'swapper_pg_dir)=[0-9a-f]*' | cut -d= -f2)
    - 0xffff888000000000))
for shift in 39 30 21 12; do
    table=$((0x$(entry $table $((address >> shift & 511))) & 0xffffffffff000))
done
echo $((table >> 12)) > scull1
set -- $T2
printf %x $((0x$(quantum scullpmem $(($1 / 16384))) - 0xffff888000000000 + $1 % 16384)) > scull2
set -- $T3; echo "vmalloc big $1" > sys/kernel/debug/mm/command
""",
    5: """
set -- $T1
for name in scull scullc scullp scullv; do head -c $1 /dev/urandom > ${name}0; done
quanta() { cat sys/class/$1/${1}0/quanta; }
echo sizes $(cat sys/class/scull/scull0/quantum) > sys/kernel/debug/mm/command
echo $(($(quanta scull) * $(cat sys/kernel/debug/mm/command))) > scull1
echo $(($(quanta scullc) * $(awk '/^scullc /{print $4}' proc/slabinfo))) > scull2
echo $(($(quanta scullp) * (4096 << $(cat sys/class/scullp/scullp0/order)))) > scull3
kb() { sed -n "s/^$1: *//p" proc/meminfo | tr -d ' kB'; }
echo $(($(kb VmallocUsed) * 1024)) > scull4
echo $(($(kb VmallocUsed) / 4)) > scull5
""",
    6: """
cd sys/kernel/debug/mm
echo 'ioremap regs 0xfe000000 4096' > command
before=$(grep -c GLB ../page_tables/kernel)
set -- $T2; echo "ioremap odd $2 $1" > command
tail -n 1 handles | awk '{print $5}' > ../../../../scull1
set -- $T4
le() { printf '0x%x 0x%x 0x%x 0x%x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) \
    $(($1 >> 24)); }
for n in $(seq $2); do echo "poke regs 4 $(le $1)" > command; done
echo 'peek regs 0 12' > command
""",
    7: """
set -- $T1; at=$(sed -n "/^Device 0/,/^Device 1/s/^ *$1://p" proc/scullvmem)
end=$(sed -n "s/^0x$at-0x\\([0-9a-f]*\\) .*/\\1/p" sys/kernel/debug/vmap_areas)
printf %x $((0x$end - 4096)) > scull1
pages=0
while printf x | dd of=scullv1 bs=4k seek=$pages conv=notrunc status=none 2>/dev/null; do
    pages=$((pages + 1))
done
echo $((pages * 4096)) > scull2
echo purge > sys/kernel/debug/mm/command
set -- $T4; q=$(stat -c %o scullv2); n=$(sed -n p sys/class/scullv/scullv2/qset)
while [ $1 -gt 0 ]; do
    count=$(($1 < n ? $1 : n))
    dd if=/dev/zero of=scullv2 bs=$q count=$count status=none; : > scullv2
    set -- $(($1 - count))
done
""",
    8: """
q=$(stat -c %o scullv0)
dd if=/dev/zero of=scullv0 bs=$q status=none 2>/dev/null
echo $((4096 * $(cat sys/class/scullv/scullv0/quanta))) > scull1
cd sys/kernel/debug/mm
echo 'free bar7' > command
set -- $T3; echo "vmalloc mine $1" > command
low=0 high=$((8 << 20))
while [ $((high - low)) -gt 4096 ]; do
    middle=$(((low + high) / 8192 * 4096))
    if echo "vmalloc probe $middle" 2>/dev/null > command; then
        low=$middle; echo 'free probe' > command
    else
        high=$middle
    fi
done
echo "vmalloc probe $low" > command; echo 'free probe' > command
echo $low > ../../../../scull2
""",
    9: """
cd sys/kernel
count() { sed -n '/TIMESTAMP/,$p' tracing/trace | grep -c "$1: call_site=$2 "; }
echo kmem vmalloc scull > tracing/set_event
: > ../../scullv3
trimmed=$(count kfree 'scullv_trim .scullv.')
echo > tracing/trace
set -- $T1; printf x | dd of=../../scullv0 bs=1 seek=$1 conv=notrunc status=none
written=$(count kmalloc 'scullv_write .scullv.')
echo > tracing/set_event
for fault in failslab fail_page_alloc; do echo N > debug/$fault/ignore-gfp-wait; done
set -- $T3; nth=0
until sed -n '/^Device 1/,/^Device 2/p' ../../proc/scullvmem | grep -q 'qset at 0*[1-9a-f]'; do
    : > ../../scullv1; nth=$((nth + 1))
    sh -c "echo $nth > ../../proc/self/fail-nth; exec dd if=/dev/zero of=../../scullv1 bs=1 \
        count=1 seek=$1 conv=notrunc status=none" 2>/dev/null
done
echo $written > ../../scull1; echo $trimmed > ../../scull2
""",
}
"""Number -> what a student types, in the directory of the mount."""

UNREAD: Final = {(2, 2)}
"""Lab and task whose numbers a student does not need."""


def tasks_of(said: str) -> list[str]:
    """The tasks that `scullvfs lab N` prints."""
    return re.findall(r"^\d  (.*)$", said, re.MULTILINE)


def solve(number: int, mnt: Path, tasks: list[str]) -> str:
    """Do all of a lab; returns what is said on stderr."""
    numbers = {f"T{place}": " ".join(NUMBER.findall(text)) for place, text in enumerate(tasks, 1)}
    done = subprocess.run(
        ["bash", "-c", LABS[number]],
        cwd=mnt,
        env={**os.environ, "LC_ALL": "C", **numbers},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    return done.stderr
