#!/usr/bin/env python3
"""Play recorded system calls against a directory with the devices of a driver: scullv0 .. scullv3.

    play.py --dir /dev --proc /proc --out golden/ scenarios/*.json
    play.py --dir MOUNT --compare golden/*.json scullp/*/*.json

The test suite plays with `play()`; run by hand, this prints every step that is not as recorded,
whether or not differences.toml allows it.

A scenario is {"name", "about", "steps": [...]}; every step is ONE system call (except read_all
and write_all) on a file descriptor known by a name.  The player writes the scenario back with a
"result" in each step.  Files that already hold results can be played again: old results are
ignored, or compared with the new ones under --compare.

Its "driver" is the one whose devices it is about (scullv if there is none), and "insmod" the
parameters that this must have been loaded with.  The names of ioctl commands end in ORDER for
scullv and scullp, in QUANTUM for scullc and scull; scull has numbers of its own, and PTSIZE and
PQSIZE (of scullpipe's buffer).

Before each scenario (unless it says "fresh": false) the devices are put in a known state,
unrecorded: ioctl RESET on the first, then open(O_WRONLY)+close on each, which trims them to the
driver's defaults (for scullv order 4, qset 500).

Data are described, not stored: {"fill": "A", "len": n}, {"seed": 7, "len": n} (SHAKE-128 of the
seed's decimal text), {"text": "hi"}, {"hex": "00ff"}.

Steps (fd, map: names; every other key has a default where one is shown):
  open      fd, dev=0, flags=["O_RDWR"]            close     fd            dup     fd, to
  read      fd, n         pread  fd, n, at         write     fd, data      pwrite  fd, data, at
  read_all  fd, chunk=131072, max=None             write_all fd, data      (loop; as run lengths)
  readv     fd, ns        writev fd, datas         lseek     fd, off, whence="SET|CUR|..."|int
  ftruncate fd, size      truncate dev=0, size     fstat     fd            stat    dev=0
  ioctl     fd, cmd, arg=int | ptr=int | readonly=int | bad=address        fsync/fdatasync fd
  fcntl_append fd, on     fallocate fd, off, len   poll      fd            sendfile out, fd, n
  read_bad  fd, n, addr | cliff                    write_bad fd, n, addr | data, cliff
  mmap      map, fd, len, at=0, prot="rw", flags="shared"                  munmap/msync map
  mread     map, at, n    mwrite map, at, data     scullvmem (and its like, scullseq)   sleep   s
"guard": seconds runs the step in a forked child (it shares offsets, not new fds): the result is
then the child's, or {"signal": ...} if it died, or {"timeout": true}.  mread and mwrite are
guarded by default; an mwrite with "guard": 0 happens in the player, unless it would kill it.
"uid": n runs it in a child, too, with that user and group (needs root; descriptors stay as root
opened them).
"""

import argparse
import ctypes
import errno
import faulthandler
import fcntl
import hashlib
import json
import mmap
import os
import re
import resource
import select
import signal
import stat
import sys
import time
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
for name in ("read", "write"):
    getattr(libc, name).restype = ctypes.c_ssize_t
WHENCE = {"SET": 0, "CUR": 1, "END": 2, "DATA": 3, "HOLE": 4}


def ioc(direction, nr, size=0, magic="K"):
    """_IOC() of <linux/ioctl.h>; direction: 0 none, 1 write, 2 read, 3 both."""
    return direction << 30 | size << 16 | ord(magic) << 8 | nr


LETTERS = {"S": 1, "T": 0, "G": 2, "Q": 0, "X": 3, "H": 0}
"""Set, Tell, Get, Query, eXchange, sHift: the direction of each."""


def by_parameter(*names):
    """Commands of magic 'K': those for a parameter follow one another."""
    pairs = [(letter, name) for name in names for letter in LETTERS]
    return {"RESET": ioc(0, 0)} | numbered(pairs, "K")


def by_letter(*names):
    """Commands of magic 'k': those of a letter follow one another."""
    pairs = [(letter, name) for letter in LETTERS for name in names]
    return {"RESET": ioc(0, 0, magic="k")} | numbered(pairs, "k")


def numbered(pairs, magic):
    return {
        letter + name: ioc(LETTERS[letter], nr, 4 if LETTERS[letter] else 0, magic)
        for nr, (letter, name) in enumerate(pairs, start=1)
    }


IOCTLS = {
    "scullv": by_parameter("ORDER", "QSET"),
    "scullp": by_parameter("ORDER", "QSET"),
    "scullc": by_parameter("QUANTUM", "QSET"),
    "scull": by_letter("QUANTUM", "QSET")
    | {"PTSIZE": ioc(0, 13, magic="k"), "PQSIZE": ioc(0, 14, magic="k")},
}
"""Driver -> name of a command -> its number."""
LISTINGS = {f"{driver}mem" for driver in IOCTLS} | {"scullseq"}


def data_of(spec):
    if "fill" in spec:
        return spec["fill"].encode() * spec["len"]
    if "seed" in spec:
        return hashlib.shake_128(str(spec["seed"]).encode()).digest(spec["len"])
    return spec["text"].encode() if "text" in spec else bytes.fromhex(spec["hex"])


def describe(data):
    out = {"len": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if len(data) <= 64:
        out["hex"] = data.hex()
    return out


def run_lengths(counts):
    runs = []
    for n in counts:
        if runs and runs[-1][0] == n:
            runs[-1][1] += 1
        else:
            runs.append([n, 1])
    return runs


def checked(ret):
    """A libc call's return value, or the OSError that its errno stands for."""
    if ret == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return ret


def buffer_with_cliff(good):
    """The address of a buffer whose first `good` bytes are accessible and the next one is not."""
    page = mmap.PAGESIZE
    span = (good + page - 1) // page * page
    base = libc.mmap(None, ctypes.c_size_t(span + page), 3, 0x22, -1, 0)
    libc.mprotect(ctypes.c_void_p(base + span), ctypes.c_size_t(page), 0)
    return base + span - good


class Player:
    """Plays steps on the devices of a driver.

    Args:
        directory: where the devices are.
        proc: where the driver's listings are.
        pauses: how long a second of sleep takes, in seconds.
    """

    def __init__(self, directory, proc, driver="scullv", pauses=1):
        self.directory, self.proc, self.driver, self.pauses = directory, proc, driver, pauses
        self.ioctls = IOCTLS[driver]
        self.fds, self.maps = {}, {}

    def path(self, step):
        return f"{self.directory}/{self.driver}{step.get('dev', 0)}"

    def reset(self):
        fd = os.open(self.path({}), os.O_RDWR)
        libc.ioctl(fd, ctypes.c_ulong(self.ioctls["RESET"]), ctypes.c_ulong(0))
        os.close(fd)
        for dev in range(4):
            os.close(os.open(self.path({"dev": dev}), os.O_WRONLY))

    def close_all(self):
        for name in list(self.maps):
            self.do_munmap({"map": name})
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()

    def do(self, step):
        """One step's result, guarded or not."""
        risky = step["op"] in ("mread", "mwrite") or "uid" in step
        guard = step.get("guard", 4 if risky else None)
        if step["op"] == "mwrite" and not guard:
            n = len(data_of(step["data"]))
            tried = self.guarded({**step, "op": "mread", "n": n}, 4)
            if tried.get("len") != n:
                return tried
        return self.guarded(step, guard) if guard else self.plain(step)

    def plain(self, step):
        if step["op"] not in ("open", "mmap") and (
            step.get("fd", step.get("out")) not in (None, *self.fds)
            or step.get("map") not in (None, *self.maps)
        ):
            return {"skipped": "not open"}
        try:
            name = "listing" if step["op"] in LISTINGS else step["op"]
            return getattr(self, "do_" + name)(step)
        except OSError as e:
            return {"errno": errno.errorcode.get(e.errno, e.errno)}

    def guarded(self, step, seconds):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                faulthandler.disable()  # it may well be killed, and that is a result
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                if "uid" in step:
                    os.setgroups([])
                    os.setresgid(*[step["uid"]] * 3)
                    os.setresuid(*[step["uid"]] * 3)
                os.write(w, json.dumps(self.plain(step)).encode())
                os._exit(0)
            finally:
                os._exit(1)  # whatever it was, its parent goes on
        os.close(w)
        answer, finished = b"", False
        deadline = time.monotonic() + seconds
        while not finished and select.select([r], [], [], max(0, deadline - time.monotonic()))[0]:
            part = os.read(r, 65536)
            answer += part
            finished = not part
        os.close(r)
        if not finished:
            os.kill(pid, signal.SIGKILL)
            for _ in range(20):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    return {"timeout": True}
                time.sleep(0.1)
            return {"timeout": True, "unkillable": True}
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return json.loads(answer) if answer else {"signal": signal.Signals(-code).name}

    # -- the operations ----------------------------------------------------------------------------
    def do_open(self, s):
        flags = 0
        for name in s.get("flags", ["O_RDWR"]):
            flags |= getattr(os, name)
        self.fds[s["fd"]] = os.open(self.path(s), flags)
        return {"ret": 0}

    def do_close(self, s):
        os.close(self.fds.pop(s["fd"]))
        return {"ret": 0}

    def do_dup(self, s):
        self.fds[s["to"]] = os.dup(self.fds[s["fd"]])
        return {"ret": 0}

    def do_read(self, s):
        return describe(os.read(self.fds[s["fd"]], s["n"]))

    def do_pread(self, s):
        return describe(os.pread(self.fds[s["fd"]], s["n"], s["at"]))

    def do_write(self, s):
        return {"ret": os.write(self.fds[s["fd"]], data_of(s["data"]))}

    def do_pwrite(self, s):
        return {"ret": os.pwrite(self.fds[s["fd"]], data_of(s["data"]), s["at"])}

    def do_read_all(self, s):
        fd, counts, parts, left = self.fds[s["fd"]], [], [], s.get("max")
        while left is None or left > 0:
            part = os.read(fd, min(s.get("chunk", 131072), left or 1 << 30))
            counts.append(len(part))
            if not part:
                break
            parts.append(part)
            left = left and left - len(part)
        return {"calls": run_lengths(counts), **describe(b"".join(parts))}

    def do_write_all(self, s):
        fd, data, counts, error = self.fds[s["fd"]], memoryview(data_of(s["data"])), [], {}
        while data:
            try:
                n = os.write(fd, data)
            except OSError as e:
                error = {"errno": errno.errorcode.get(e.errno, e.errno)}
                break
            counts.append(n)
            data = data[n:]
        return {"calls": run_lengths(counts), **error}

    def do_readv(self, s):
        bufs = [bytearray(n) for n in s["ns"]]
        n = os.readv(self.fds[s["fd"]], bufs)
        return describe(b"".join(bufs)[:n])

    def do_writev(self, s):
        return {"ret": os.writev(self.fds[s["fd"]], [data_of(d) for d in s["datas"]])}

    def do_lseek(self, s):
        whence = s.get("whence", "SET")
        return {"ret": os.lseek(self.fds[s["fd"]], s["off"], WHENCE.get(whence, whence))}

    def do_ftruncate(self, s):
        os.ftruncate(self.fds[s["fd"]], s["size"])
        return {"ret": 0}

    def do_truncate(self, s):
        os.truncate(self.path(s), s["size"])
        return {"ret": 0}

    def about(self, st):
        kinds = {stat.S_IFCHR: "chr", stat.S_IFREG: "reg"}
        return {"size": st.st_size, "kind": kinds.get(stat.S_IFMT(st.st_mode), "other")}

    def do_fstat(self, s):
        return self.about(os.fstat(self.fds[s["fd"]]))

    def do_stat(self, s):
        return self.about(os.stat(self.path(s)))

    def do_ioctl(self, s):
        cmd = s["cmd"]
        if isinstance(cmd, str):
            cmd = self.ioctls[cmd] if cmd in self.ioctls else int(cmd, 16)
        cell, arg = None, s.get("arg", s.get("bad", 0))
        if "ptr" in s:
            cell = ctypes.c_int(s["ptr"])
            arg = ctypes.addressof(cell)
        elif "readonly" in s:
            arg = libc.mmap(None, ctypes.c_size_t(mmap.PAGESIZE), 3, 0x22, -1, 0)
            cell = ctypes.c_int.from_address(arg)
            cell.value = s["readonly"]
            libc.mprotect(ctypes.c_void_p(arg), ctypes.c_size_t(mmap.PAGESIZE), 1)
        out = {}
        try:
            out["ret"] = checked(
                libc.ioctl(self.fds[s["fd"]], ctypes.c_ulong(cmd), ctypes.c_ulong(arg))
            )
        except OSError as e:
            out["errno"] = errno.errorcode.get(e.errno, e.errno)
        if cell is not None:
            out["cell"] = cell.value
        return out

    def do_fsync(self, s):
        os.fsync(self.fds[s["fd"]])
        return {"ret": 0}

    def do_fdatasync(self, s):
        os.fdatasync(self.fds[s["fd"]])
        return {"ret": 0}

    def do_fcntl_append(self, s):
        fd = self.fds[s["fd"]]
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_APPEND if s["on"] else flags & ~os.O_APPEND)
        return {"ret": 0, "append": bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)}

    def do_fallocate(self, s):
        os.posix_fallocate(self.fds[s["fd"]], s["off"], s["len"])
        return {"ret": 0}

    def do_poll(self, s):
        p = select.poll()
        p.register(self.fds[s["fd"]], select.POLLIN | select.POLLOUT | select.POLLPRI)
        events = p.poll(500)
        return {"events": events[0][1] if events else 0}

    def do_sendfile(self, s):
        return {"ret": os.sendfile(self.fds[s["out"]], self.fds[s["fd"]], s.get("at"), s["n"])}

    def do_read_bad(self, s):
        addr = buffer_with_cliff(s["cliff"]) if "cliff" in s else s["addr"]
        n = checked(libc.read(self.fds[s["fd"]], ctypes.c_void_p(addr), ctypes.c_size_t(s["n"])))
        return {"ret": n}

    def do_write_bad(self, s):
        if "cliff" in s:
            data = data_of(s["data"])
            addr = buffer_with_cliff(len(data))
            ctypes.memmove(addr, data, len(data))
        else:
            addr = s["addr"]
        return {
            "ret": checked(
                libc.write(self.fds[s["fd"]], ctypes.c_void_p(addr), ctypes.c_size_t(s["n"]))
            )
        }

    # Mappings are made with libc's mmap: Python's own refuses lengths beyond st_size by itself.
    def do_mmap(self, s):
        prot = sum({"r": mmap.PROT_READ, "w": mmap.PROT_WRITE}[c] for c in s.get("prot", "rw"))
        flags = {"shared": mmap.MAP_SHARED, "private": mmap.MAP_PRIVATE}[s.get("flags", "shared")]
        where = libc.mmap(
            None,
            ctypes.c_size_t(s["len"]),
            prot,
            flags,
            self.fds[s["fd"]],
            ctypes.c_long(s.get("at", 0)),
        )
        checked(-1 if where == ctypes.c_void_p(-1).value else 0)
        self.maps[s["map"]] = where, s["len"]
        return {"ret": 0}

    def do_munmap(self, s):
        where, length = self.maps.pop(s["map"])
        return {"ret": checked(libc.munmap(ctypes.c_void_p(where), ctypes.c_size_t(length)))}

    def do_msync(self, s):
        where, length = self.maps[s["map"]]
        return {
            "ret": checked(libc.msync(ctypes.c_void_p(where), ctypes.c_size_t(length), 4))
        }  # MS_SYNC

    def do_mread(self, s):
        return describe(ctypes.string_at(self.maps[s["map"]][0] + s["at"], s["n"]))

    def do_mwrite(self, s):
        data = data_of(s["data"])
        ctypes.memmove(self.maps[s["map"]][0] + s["at"], data, len(data))
        return {"ret": len(data)}

    def do_sleep(self, s):
        time.sleep(s["s"] * self.pauses)
        return {"ret": 0}

    def do_listing(self, s):
        """/proc/scullvmem or its like, with each pointer replaced by PTR or NULL."""
        listing = Path(self.proc, s["op"])
        if not listing.exists():
            return {"skipped": True}
        text = listing.read_text()
        shown = re.sub(
            r"\b(item at |qset at )(\w+)",
            lambda m: m[1] + ("PTR" if m[2].strip("0") else "NULL"),
            text,
        )
        shown = re.sub(r"^( {4} +\d+:) *\w+$", r"\1PTR", shown, flags=re.M)
        return {"text": shown}


def play(scenario, directory, proc=None, verbose=False, pauses=1):
    """Play a scenario; yields each step with its new result in it, and the old one."""
    driver = scenario.get("driver", "scullv")
    player = Player(directory, proc or f"{directory}/proc", driver, pauses)
    try:
        if scenario.get("fresh", True):
            player.reset()
        for i, step in enumerate(scenario["steps"]):
            old = step.pop("result", None)
            if verbose:
                name = scenario["name"]
                print(f"{name} {i}: {json.dumps(step)}", file=sys.stderr, flush=True)
            step["result"] = player.do(step)
            if verbose:
                print(f"    -> {json.dumps(step['result'])}", file=sys.stderr, flush=True)
            yield step, old
    finally:
        player.close_all()


def dump(scenario):
    """JSON with one step a line."""
    head = {k: v for k, v in scenario.items() if k != "steps"}
    lines = ",\n".join("  " + json.dumps(s) for s in scenario["steps"])
    return json.dumps(head, indent=1)[:-2] + ',\n "steps": [\n' + lines + "\n ]\n}\n"


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("scenarios", nargs="+", type=Path)
    ap.add_argument("--dir", default="/dev", help="where the devices are")
    ap.add_argument("--proc", help="where the listings are, if there are any [DIR/proc]")
    ap.add_argument("--out", type=Path, help="folder for the scenarios with their results")
    ap.add_argument("--compare", action="store_true", help="compare with the results in the files")
    ap.add_argument("-v", "--verbose", action="store_true", help="name each step before playing it")
    args = ap.parse_args()
    differences = 0
    for file in args.scenarios:
        scenario = json.loads(file.read_text())
        name = scenario["name"]
        for i, (step, old) in enumerate(play(scenario, args.dir, args.proc, args.verbose)):
            if args.compare and old != step["result"]:
                differences += 1
                shown = {k: v for k, v in step.items() if k != "result"}
                print(f"{name} step {i} {json.dumps(shown)}")
                print(f"   want {old}\n   got  {step['result']}")
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / f"{name}.json").write_text(dump(scenario))
    if args.compare:
        print(f"{differences} differences in {len(args.scenarios)} scenarios")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
