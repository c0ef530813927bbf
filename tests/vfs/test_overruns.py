"""`-o quirks=ldd3` for scullp and scullc, whose memory has no guard page; and hardened_usercopy.

    scullp    |quantum|neighbour|neighbour|...   a later item's quantum is one page, accessed as
              |<------- accessed ------->|       PAGE_SIZE << order
    scullc    |object |object |object |...       a quantum may be larger than the objects
              |<-- accessed -->|

What the real modules did is in tests/truth/dangerous.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from scullvfs.scull.family import DRIVERS
from scullvfs.scull.ioctl import commands

from .helpers import Scullvfs
from .troubles import fails_as

DANGEROUS = Path(__file__).parents[1] / "truth/dangerous"

Mount = Callable[[str], Path]
Result = dict[str, Any]

OPTIONS = "drivers=scullp:scullc,quirks=ldd3,shuffle=0,mem=64M"


def data_of(spec: dict[str, Any]) -> bytes:
    """The bytes that a step of a recording writes (tests/truth/play.py)."""
    if "fill" in spec:
        return bytes(spec["fill"].encode() * spec["len"])
    if "seed" in spec:
        return hashlib.shake_128(str(spec["seed"]).encode()).digest(spec["len"])
    return bytes(spec["text"].encode())


class Player:
    """Plays the steps of a recording, of as many kinds as these have, on a mount."""

    def __init__(self, mount: Path, driver: str) -> None:
        self.mount, self.driver = mount, driver
        self.fds: dict[str, int] = {}
        self.commands = commands(DRIVERS[driver])

    def play(self, step: Result) -> Result:
        """The result of a step."""
        try:
            return self._play(step)
        except OSError as error:
            return {"errno": errno.errorcode[error.errno or 0]}

    def _play(self, step: Result) -> Result:
        op, fd = step["op"], self.fds.get(step.get("fd", ""), -1)
        if op == "open":
            flags = sum(getattr(os, name) for name in step["flags"])
            path = self.mount / f"{self.driver}{step['dev']}"
            if fd >= 0:
                os.close(fd)
            self.fds[step["fd"]] = os.open(path, flags)
        elif op == "close":
            os.close(self.fds.pop(step["fd"]))
        elif op == "ioctl":
            return {"ret": fcntl.ioctl(fd, self.commands[step["cmd"]], step.get("arg", 0))}
        elif op == "write":
            return {"ret": os.write(fd, data_of(step["data"]))}
        elif op == "pwrite":
            return {"ret": os.pwrite(fd, data_of(step["data"]), step["at"])}
        elif op == "write_all":
            data, counts = data_of(step["data"]), []
            while data:
                counts.append(os.write(fd, data))
                data = data[counts[-1] :]
            return {"calls": [[count, counts.count(count)] for count in dict.fromkeys(counts)]}
        elif op == "pread":
            read = os.pread(fd, step["n"], step["at"])
            found = {"len": len(read), "sha256": hashlib.sha256(read).hexdigest()}
            return found | ({"hex": read.hex()} if len(read) <= 64 else {})
        elif op == "lseek":
            return {"ret": os.lseek(fd, step["off"], getattr(os, f"SEEK_{step['whence']}"))}
        elif op.endswith("mem"):
            text = (self.mount / f"proc/{op}").read_text()
            text = re.sub(r"(item at|qset at) 0*[1-9a-f]\w*", r"\1 PTR", text)
            return {
                "text": re.sub(r":[0-9a-f]+$", ":PTR", text, flags=re.M).replace("0" * 16, "NULL")
            }
        return {"ret": 0}


def differing(mount: Path, name: str) -> Iterator[tuple[Result, Result, Result]]:
    """The steps of a recording that give something else here: (step, recorded, got)."""
    recording = json.loads((DANGEROUS / f"{name}.json").read_text())
    player = Player(mount, recording["driver"])
    for step in recording["steps"]:
        recorded, got = step.pop("result"), player.play(step)
        if got != recorded:
            yield step, recorded, got
    for fd in player.fds.values():
        os.close(fd)


def differences(mount: Path, name: str) -> list[tuple[str, Result, Result]]:
    """Those but what hung in the real one, whose mutex nobody unlocks: kind, both results."""
    found = [(step["op"], recorded, got) for step, recorded, got in differing(mount, name)]
    return [(op, recorded, got) for op, recorded, got in found if "timeout" not in recorded]


def kmsg(mount: Path) -> str:
    """The kernel log without levels and times."""
    return re.sub(r"^<\d>\[.*?\] ", "", (mount / "proc/kmsg").read_text(), flags=re.M)


def validate(mount: Path) -> str:
    """What `echo 1 > validate` comes to: "ok", or the name of an errno."""
    fd = os.open(mount / "sys/kernel/debug/validate", os.O_WRONLY)
    try:
        os.write(fd, b"1\n")
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        os.close(fd)
    return "ok"


def overruns(mount: Path) -> list[str]:
    """The lines of the log on what was overwritten, without addresses, after a validate."""
    assert validate(mount) == "EIO"
    found = re.findall(r"^scull\w\d: quantum .*overwrote.*", kmsg(mount), re.M)
    return [re.sub("ffff8[0-9a-f]{11}", "P", line) for line in found]


@pytest.fixture
def quirky(mount: Mount) -> Path:
    """A mount with the mistakes, whose frames follow one another."""
    path = mount(OPTIONS)
    for name in "abcdefgh":
        (path / "sys/kernel/debug/mm/command").write_text(f"get_free_pages {name} 0\n")
    return path


# -- scullp: the silent neighbour ------------------------------------------------------------------


def test_overrun_65536(quirky: Path) -> None:
    """All of a quantum that is one page is written, and nobody says a word."""
    assert differences(quirky, "scullp-d03-overrun-65536") == []
    assert "Call Trace" not in kmsg(quirky)
    (line,) = overruns(quirky)
    assert line.startswith(
        "scullp0: quantum P is 4096 bytes long, accessed as 65536: overwrote 61440 bytes: "
    )


def test_overrun_neighbour(quirky: Path) -> None:
    """What is written 4096 bytes into a quantum is read at the start of the next one."""
    assert differences(quirky, "scullp-d05-overrun-neighbour") == []
    line = "scullp0: quantum P is 4096 bytes long, accessed as 65536: overwrote 10 bytes: "
    assert overruns(quirky) == [f"{line}scullp0 quantum P"] * 2


def test_overrun_read(quirky: Path) -> None:
    """What lies behind is read without a word, and that overwrites nothing."""
    ((op, recorded, got),) = differences(quirky, "scullp-d06-overrun-read")
    assert (op, recorded["len"], got["len"]) == ("pread", 65536, 65536)
    assert validate(quirky) == "ok"


def test_overrun_other_device(mount: Mount) -> None:
    """The neighbour may be another device's, or another driver's."""
    path = mount("drivers=scullp:scullv,quirks=ldd3,shuffle=0,mem=64M,scullp_order=4,scullp_qset=1")
    fds = [os.open(path / name, os.O_RDWR) for name in ("scullp0", "scullv0")]
    item = 65536
    for at in range(5):
        os.pwrite(fds[0], b"A" * 4096, (at + 1) * item)
    os.pwrite(fds[1], b"V" * item, 0)
    for at in range(5):
        os.pwrite(fds[0], b"!" * item, (at + 1) * item)
    assert b"!" in os.pread(fds[1], item, 0)
    for fd in fds:
        os.close(fd)
    assert any("scullv0 quantum" in line for line in re.findall(".*", "\n".join(overruns(path))))


# -- scullc: the broken slab -----------------------------------------------------------------------


def test_quantum_4096(quirky: Path) -> None:
    """The last 64 bytes of a quantum are the first of the next one."""
    shown = differences(quirky, "scullc-d04-quantum-4096")
    # Two of three quanta that were read back; where they lie in a slab is random there.
    assert [(op, recorded["len"], got["len"]) for op, recorded, got in shown] == [
        ("pread", 4096, 4096)
    ] * len(shown)
    assert "Call Trace" not in kmsg(quirky)
    lines = overruns(quirky)
    assert len(lines) == 10
    head = "scullc0: quantum P is 4032 bytes long, accessed as 4096: overwrote 64 bytes: "
    assert {line.removeprefix(head) for line in lines} == {
        "free scullc objects",
        "the rest of a slab of scullc",
    }


def test_quantum_4096_content(quirky: Path) -> None:
    """To the byte."""
    fd = os.open(quirky / "scullc0", os.O_RDWR)
    fcntl.ioctl(fd, commands(DRIVERS["scullc"])["TQUANTUM"], 4096)
    (quirky / "scullc0").write_bytes(b"")
    for at in range(4):
        os.pwrite(fd, b"%d" % at * 4096, at * 4096)
    assert os.pread(fd, 4096, 0) == b"0" * 4032 + b"1" * 64
    assert os.pread(fd, 4096, 4096) == b"1" * 4032 + b"2" * 64
    os.pwrite(fd, b"x" * 4096, 4096)
    assert os.pread(fd, 4096, 8192) == b"x" * 64 + b"2" * 3968 + b"3" * 64
    os.close(fd)


def test_quantum_8000(quirky: Path) -> None:
    """The list of the slab's free objects is overwritten, and the third quantum is asked for."""
    first, second = differences(quirky, "scullc-d05-quantum-8000")
    assert first == ("write_all", {"signal": "SIGSEGV"}, {"errno": "EFAULT"})
    assert (second[0], second[1]["len"], second[2]["len"]) == ("pread", 8000, 8000)
    assert re.search(
        r"^Oops: general protection fault, probably for non-canonical address 0x[0-9a-f]{12,16}: "
        r"0000 \[#1\] PREEMPT SMP NOPTI\n(?:.*\n){3}Call Trace:\n <TASK>\n "
        r"kmem_cache_alloc_noprof\n scullc_write \[scullc\]\n vfs_write\n",
        kmsg(quirky),
        re.M,
    )
    assert len(overruns(quirky)) == 2


def test_quantum_negative(quirky: Path) -> None:
    """A quantum of -1 stays refused; all else is as recorded."""
    assert differences(quirky, "scullc-d11-quantum-negative") == [
        ("ioctl", {"ret": 0}, {"errno": "EINVAL"})
    ]
    assert validate(quirky) == "ok"


# -- hardened_usercopy -----------------------------------------------------------------------------


def test_first_write(mount: Mount) -> None:
    """With the kernel's check scullc's first write is a BUG, and nothing is stored."""
    path = mount("drivers=scullc:scull:scullp:scullv,hardened_usercopy=1,mem=64M")
    shown = differences(path, "scullc-d01-first-write-usercopy")
    assert shown == [("write", {"signal": "SIGSEGV"}, {"errno": "EFAULT"})]
    log = kmsg(path)
    report = log[log.index("usercopy: ") :].split("---[ end trace")[0].splitlines()
    assert report[:4] == [
        "usercopy: Kernel memory overwrite attempt detected to SLUB object 'scullc' "
        "(offset 0, size 12)!",
        "------------[ cut here ]------------",
        "kernel BUG at mm/usercopy.c:102!",
        "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
    ]
    trace = [" usercopy_abort", " __check_heap_object", " __check_object_size"]
    assert report[9:13] == [*trace, " scullc_write [scullc]"]
    for name in ("scull0", "scullp0", "scullv0"):
        (path / name).write_bytes(b"as ever")
        assert (path / name).read_bytes() == b"as ever"
    assert validate(path) == "ok"


@pytest.mark.long
def test_errnos(mount: Mount) -> None:
    """They are as the page of troubles has them."""
    path = mount("drivers=scullc,quirks=ldd3,mem=16M")
    fd = os.open(path / "scullc0", os.O_RDWR)
    fcntl.ioctl(fd, commands(DRIVERS["scullc"])["TQUANTUM"], 8000)
    (path / "scullc0").write_bytes(b"")
    os.pwrite(fd, bytes(8000), 0)
    os.pwrite(fd, bytes(8000), 8000)
    with fails_as("overwritten"):
        os.pwrite(fd, bytes(8000), 16000)
    os.close(fd)
    fd = os.open(path / "sys/kernel/debug/validate", os.O_WRONLY)
    with fails_as("validate-overrun"):
        os.write(fd, b"1")
    os.close(fd)
    fd = os.open(mount("drivers=scullc,hardened_usercopy=1,mem=16M") / "scullc0", os.O_RDWR)
    with fails_as("usercopy"):
        os.write(fd, b"1")
    os.close(fd)


# -- without the quirk -----------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["scullp", "scullc"])
def test_without_the_quirk(mount: Mount, driver: str) -> None:
    """None of it is possible."""
    path = mount("drivers=scullp:scullc,shuffle=0,mem=64M,scullp_order=4,scullp_qset=2")
    fd = os.open(path / f"{driver}0", os.O_RDWR)
    if driver == "scullc":
        for value in (4033, 8000):
            with pytest.raises(OSError, match=r"Errno 22"):
                fcntl.ioctl(fd, commands(DRIVERS["scullc"])["TQUANTUM"], value)
    pattern = [Random(at).randbytes(40000) for at in range(20)]
    for at, data in enumerate(pattern):
        done = 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], at * len(data) + done)
    with (path / f"{driver}0").open("rb", buffering=0) as file:
        read = b""
        while part := file.read(1 << 20):
            read += part
    os.close(fd)
    assert read == b"".join(pattern)
    assert validate(path) == "ok"
    assert "Call Trace" not in kmsg(path)


# -- at random -------------------------------------------------------------------------------------


@pytest.mark.long
def test_random(mount: Mount, scullvfs: Scullvfs) -> None:
    """Whatever is overwritten, the daemon lives and answers, and every call has an errno."""
    path = mount(
        "drivers=scullp:scullc:scullv:scull,quirks=ldd3,mem=8M,semantics=device,"
        "scullp_order=2,scullp_qset=3,scullc_quantum=700,scullv_order=1,scullv_qset=4"
    )
    daemon, random = scullvfs.pid(path), Random(14)
    names = [
        f"{driver}{number}"
        for driver in ("scullp", "scullc", "scullv", "scull")
        for number in range(2)
    ]
    fds = [os.open(path / name, os.O_RDWR) for name in names]
    errors = set()
    for _ in range(700):
        fd, at, what = random.choice(fds), random.randrange(1 << 17), random.random()
        try:
            if what < 0.6:
                os.pwrite(fd, random.randbytes(random.choice((1, 4096, 20000))), at)
            elif what < 0.8:
                os.pread(fd, random.choice((1, 70000)), at)
            elif what < 0.85:
                os.ftruncate(fd, at)
            elif what < 0.9:
                (path / random.choice(names)).write_bytes(b"")
            elif what < 0.95:
                command = commands(DRIVERS["scullc"])["TQUANTUM"]
                fcntl.ioctl(fds[2], command, random.randrange(1, 9000))
            else:
                for file in (path / "proc").iterdir():
                    if file.is_file():
                        file.read_bytes()
        except OSError as error:
            errors.add(error.errno)
    assert errno.EFAULT in errors
    assert errors <= {errno.EFAULT, errno.EINVAL, errno.ENOMEM}
    for fd in fds:
        os.close(fd)
    assert validate(path) == "EIO"
    assert scullvfs.pid(path) == daemon
