"""The programs that people read with, on every file of proc/ and sys/: all get all of it.

Some trust st_size, some seek to the end and go backwards from there, some copy in the kernel.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .helpers import DEADLINE, mount_point, mounted_on, opened, program, shell

COPIES = {
    "cat": 'cat "$F" >"$O"',
    "cp": 'cp "$F" "$O"',
    "cp -a": 'cp -a "$F" "$O"',
    "install": 'install "$F" "$O"',
    "dd": 'dd if="$F" of="$O" status=none',
    "dd bs=1M": 'dd if="$F" of="$O" bs=1M status=none',
    "head": 'head -n 1000000 "$F" >"$O"',
    "head -c": 'head -c 100M "$F" >"$O"',
    "tail": 'tail -n 1000000 "$F" >"$O"',
    "tail -c": 'tail -c 100M "$F" >"$O"',
    "tail -n +1": 'tail -n +1 "$F" >"$O"',
    "tac": 'tac "$F" | tac >"$O"',
    "tar": 'tar -c -C "${F%/*}" "${F##*/}" | tar -x -O >"$O"',
    "busybox cat": 'busybox cat "$F" >"$O"',
    "busybox cp": 'busybox cp "$F" "$O"',
    "busybox dd": 'busybox dd if="$F" of="$O" 2>/dev/null',
    "busybox head": 'busybox head -n 1000000 "$F" >"$O"',
    "busybox tail": 'busybox tail -n 1000000 "$F" >"$O"',
}
"""What copies the file $F to $O, one way or another."""


def sendfile(source: Path, target: Path) -> None:
    """Copy in the kernel, a little at a time."""
    with (
        opened(source, os.O_RDONLY) as here,
        opened(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as there,
    ):
        while os.sendfile(there, here, None, 10_000):
            pass


CHANGE = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
while True:
    for page in range(500):
        os.pwrite(fd, b"x", (2000 + page) * 4096)
    os.ftruncate(fd, 2000 * 4096)
"""
"""A program that makes and frees areas of a device until it is ended."""

CALLS = [shutil.copyfile, shutil.copy2, sendfile]
"""The same from within Python."""

Answer = Callable[[bytes], bytes]


def lines(text: bytes) -> list[bytes]:
    """The lines of a text, each with its newline."""
    return text.splitlines(keepends=True)


ANSWERS: dict[str, tuple[str, Answer]] = {
    "wc -c": ('wc -c <"$F"', lambda text: b"%d\n" % len(text)),
    "wc -l": ('wc -l <"$F"', lambda text: b"%d\n" % text.count(b"\n")),
    "busybox wc -c": ('busybox wc -c <"$F"', lambda text: b"%d\n" % len(text)),
    "stat": ('stat -c %s "$F"', lambda text: b"%d\n" % len(text)),
    "head -n 2": ('head -n 2 "$F"', lambda text: b"".join(lines(text)[:2])),
    "tail -n 2": ('tail -n 2 "$F"', lambda text: b"".join(lines(text)[-2:])),
    "tail -c 3": ('tail -c 3 "$F"', lambda text: text[-3:]),
    "busybox tail -n 2": ('busybox tail -n 2 "$F"', lambda text: b"".join(lines(text)[-2:])),
    "busybox tail -c 3": ('busybox tail -c 3 "$F"', lambda text: text[-3:]),
}
"""What tells something of the file $F, and what it has to say of a text."""


@pytest.fixture(scope="module", params=["device", "file"])
def tree(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A mount with a device and a listing of some 170 KB, more than any buffer of a pipe."""
    directory = tmp_path_factory.mktemp("readers")
    options = f"mem=64M,devs=1,order=0,qset=100,semantics={request.param}"
    with (
        program() as scullvfs,
        mount_point(scullvfs, directory / "mnt") as path,
        mounted_on(scullvfs, path, options),
    ):
        with opened(path / "scullv0") as fd:
            for page in range(2000):
                os.pwrite(fd, b"x", page * 4096)
        assert (path / "proc/vmallocinfo").stat().st_size > 1 << 17
        yield path


OTHERWISE = [
    *("sys/kernel/tracing/trace_pipe", "sys/kernel/tracing/per_cpu/cpu0/stats", "proc/kcore"),
    *("sys/kernel/debug/snapshot", "sys/kernel/debug/record", "sys/kernel/debug/record_data"),
    "proc/fs/scullvfs/status",
]
"""The files that wait for somebody, and that say what time it is; and RAM, which has no lines."""

ONE = {
    "sys/kernel/debug/fail": "sys/kernel/debug/fail_page_alloc/",
    "sys/kernel/tracing/events/": "sys/kernel/tracing/events/kmem/kfree/",
    "sys/kernel/debug/scull/": "sys/kernel/debug/scull/scullv0/write/",
    "sys/kernel/slab/": "sys/kernel/slab/kmalloc-8/",
}
"""Of many directories with the same files: where they are, and one of them."""


def is_regular(path: Path) -> bool:
    """Whether it is a file itself, and not a link to one."""
    return stat.S_ISREG(path.lstat().st_mode)


def of_kernel(mount: Path) -> list[Path]:
    """The files below proc/ and sys/, of each kind."""
    files = [
        path for top in ("proc", "sys") for path in (mount / top).rglob("*") if is_regular(path)
    ]
    assert len(files) >= 15
    names = {path: str(path.relative_to(mount)) for path in files}
    return [
        path
        for path in files
        if names[path] not in OTHERWISE
        and path.stat().st_mode & 0o400
        and all(
            names[path].startswith(one) or not names[path].startswith(many)
            for many, one in ONE.items()
        )
    ]


def on_each(files: list[Path], command: str, out: Path) -> dict[Path, bytes]:
    """Run a command with $F and $O set for each of the files; what is in $O then."""
    script = f'n=0; for F; do O="$out/$n"; {command} || echo "$F" >&2; n=$((n + 1)); done'
    out.mkdir()
    done = subprocess.run(
        ["bash", "-c", script, "bash", *files],
        env={**os.environ, "out": str(out), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {file: (out / str(n)).read_bytes() for n, file in enumerate(files)}


@pytest.fixture(scope="module")
def texts(tree: Path) -> dict[Path, bytes]:
    """What the files say."""
    return {file: file.read_bytes() for file in of_kernel(tree)}


@pytest.mark.long
@pytest.mark.parametrize("name", COPIES)
def test_copies(texts: dict[Path, bytes], tmp_path: Path, name: str) -> None:
    """Every program that copies a file gets the text, whole."""
    assert on_each([*texts], COPIES[name], tmp_path / "out") == texts


@pytest.mark.parametrize("copy", CALLS, ids=lambda copy: copy.__name__)
def test_calls(
    texts: dict[Path, bytes], tmp_path: Path, copy: Callable[[Path, Path], object]
) -> None:
    """Every function that copies a file gets the text, whole."""
    for number, (file, text) in enumerate(texts.items()):
        copy(file, tmp_path / str(number))
        assert (tmp_path / str(number)).read_bytes() == text


@pytest.mark.long
@pytest.mark.parametrize("name", ANSWERS)
def test_answers(texts: dict[Path, bytes], tmp_path: Path, name: str) -> None:
    """Every program that looks at one end of a file, or counts, does so right."""
    command, answer = ANSWERS[name]
    said = on_each([*texts], f'{command} >"$O"', tmp_path / "out")
    assert said == {file: answer(text) for file, text in texts.items()}


@pytest.mark.long
def test_ram(tree: Path, tmp_path: Path) -> None:
    """RAM as a core file, too, which is too large for all of them; nobody can write to it."""
    file = tree / "proc/kcore"
    assert (file.stat().st_mode, file.stat().st_blocks) == (stat.S_IFREG | 0o400, 0)
    done = shell('cat "$F" | cmp - "$F" && cp "$F" "$O" && cmp "$F" "$O"', F=file, O=tmp_path / "o")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "o").stat().st_size == file.stat().st_size > 64 << 20
    with pytest.raises(PermissionError):
        file.open("r+b")


@pytest.mark.long
def test_rsync_of_the_tree(tree: Path, tmp_path: Path) -> None:
    """A copy of everything at once has everything."""
    names = ("trace_[mp]*", "kcore", "reset", "snapshot", "record", "record_data")
    without = " ".join(f"--exclude {name}" for name in names)
    done = shell(f'rsync -r {without} "$T/proc" "$T/sys" "$O/"', T=tree, O=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for file in of_kernel(tree):
        assert (tmp_path / file.relative_to(tree)).read_bytes() == file.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("copy", CALLS, ids=lambda copy: copy.__name__)
def test_calls_while_it_changes(tree: Path, tmp_path: Path, copy: Callable[..., object]) -> None:
    """A listing that grows and shrinks between the calls of a copy is whole all the same."""
    target = tmp_path / "copy"
    sizes = set()
    with subprocess.Popen([sys.executable, "-c", CHANGE, tree / "scullv0"]) as changing:
        deadline = time.monotonic() + DEADLINE
        try:
            while len(sizes) < 20:
                assert time.monotonic() < deadline
                copy(tree / "proc/vmallocinfo", target)
                text = target.read_text()
                sizes.add(len(text))
                broken = [
                    line
                    for line in text.splitlines(keepends=True)
                    if not re.fullmatch(r"0x[0-9a-f]{16}-0x[0-9a-f]{16} +\d+ .*\n", line)
                ]
                assert (broken, len(text)) == ([], target.stat().st_size)
                assert text.count(" vmalloc N0=1\n") >= 2000
        finally:
            changing.kill()
