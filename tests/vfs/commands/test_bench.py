"""`scullvfs bench` on real mounts. What is checked is what was moved, never how fast."""

import errno
import json
import mmap
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scullvfs.bench import targets
from scullvfs.bench.dd import CALLS, run
from scullvfs.bench.floor import floor
from scullvfs.text import shell_word

from ..helpers import wait_until

KIB = 1 << 10
MIB = 1 << 20

QUICK = ("--rounds", "2", "--seconds", "0.001", "--bytes", "256K")


@pytest.fixture(autouse=True)
def temporary(scullvfs: Any, tmp_path: Path) -> Iterator[Path]:
    """Where the program makes its directories; none of them may outlive the test."""
    path = tmp_path / "temporary"
    path.mkdir()
    scullvfs.env["TMPDIR"] = str(path)
    before = set(os.listdir("/dev/shm"))
    yield path
    assert os.listdir(path) == []
    # Another worker's benchmark may be there just now, but not for long.
    left = {name for name in os.listdir("/dev/shm") if name.startswith("scullvfs-")} - before
    wait_until(lambda: left.isdisjoint(os.listdir("/dev/shm")), f"{left} have gone from /dev/shm")


@pytest.fixture
def logged(scullvfs: Any, tmp_path: Path) -> Path:
    """A file that gets, of every dd that the program runs, its pid, its CPUs and what it says."""
    log = tmp_path / "dd.log"
    real = shutil.which("dd")
    write_program(
        tmp_path / "bin/dd",
        f"cpus=$(sed -n s/Cpus_allowed_list:.//p /proc/$$/status)\n"
        f'{real} "$@" 2>"{tmp_path}/said"\nstatus=$?\ncat "{tmp_path}/said" >&2\n'
        f'printf "%s\\0%s\\0%s\\0\\n" "$*" "$cpus" "$(cat "{tmp_path}/said")" >>"{log}"\n'
        "exit $status",
    )
    scullvfs.env["PATH"] = f"{tmp_path}/bin:{scullvfs.env['PATH']}"
    return log


def write_program(path: Path, script: str) -> None:
    """A shell script that can be run."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def records(log: Path) -> list[tuple[str, str, str]]:
    """What was logged: arguments, CPUs, and dd's words."""
    return [
        (arguments, cpus, said)
        for arguments, cpus, said in (
            entry.split("\0") for entry in log.read_text().rstrip("\0\n").split("\0\n")
        )
    ]


def results(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, int, str], dict[str, Any]]:
    """The results of a run with --json, by call, block size and target."""
    assert done.returncode == 0, done.stderr
    return {
        (result["call"], result["block_size"], result["target"]): result
        for result in json.loads(done.stdout)["results"]
    }


def refusal(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line of a command that failed with `status`."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("scullvfs: ")
    return line.removeprefix("scullvfs: ")


# What it measures


@pytest.mark.long
def test_bench_table(scullvfs: Any) -> None:
    """A table on stdout with all three targets, what disturbed it, and nothing on stderr."""
    done = scullvfs("bench", "-o", "mem=16M", "--sizes", "4K,128K", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("scullvfs ")
    assert lines[1] == "dd on scullv0 of a temporary mount -o mem=16M"
    for call in CALLS:
        start = lines.index(next(line for line in lines if line.startswith(f"{call} ")))
        assert lines[start].split()[1:4] == ["scullvfs", "tmpfs", "floor"]
        assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["4K", "128K"]
        assert [line.count("*") for line in lines[start + 1 : start + 3]] == [0, 1]
    assert any("on 2 CPUs" in line or "CPUs; nothing pinned" in line for line in lines)


@pytest.mark.long
def test_bench_bytes_and_short_calls(scullvfs: Any) -> None:
    """All targets move the same; only beyond a quantum of scullvfs are calls short."""
    found = results(scullvfs("bench", "-o", "mem=16M", "--sizes", "4K,128K", "--json", *QUICK))
    assert len(found) == 4 * 2 * 3
    for (call, size, target), result in found.items():
        write = found["write", size, "floor"]["bytes"]
        assert write % size == 0
        assert 4 * size <= write <= max(4 * size, 256 * KIB)
        assert result["bytes"] == (write - size if call == "rewrite" else write)
        assert result["short_calls"] == int(target == "scullvfs" and size > 64 * KIB)
        assert len(result["rounds"]) == 2
        assert (result["to_floor"] is not None) == (target == "scullvfs")


@pytest.mark.long
def test_bench_says_what_dd_says(scullvfs: Any, logged: Path) -> None:
    """Every rate is bytes over seconds of the line that dd printed; the same as by hand."""
    found = results(scullvfs("bench", "-o", "mem=16M", "--sizes", "4K", "--json", *QUICK))
    said: dict[tuple[str, str], list[float]] = {}
    for arguments, _, words in records(logged)[3:]:  # the first of each target is not counted
        call = "read" if "of=/dev/null" in arguments else "write"
        call = "rewrite" if "conv=notrunc" in arguments else call
        file = next(w for w in arguments.split() if "scullvfs-bench-" in w)
        target = "floor" if not file.endswith("scullv0") else "scullvfs"
        target = "tmpfs" if "/dev/shm/" in file else target
        last = words.splitlines()[-1].split()
        seconds = float(last[last.index("copied,") + 1])
        colds, writes = (len(said.get((each, target), [])) for each in ("cold", "write"))
        if call == "write" and colds == writes:
            call = "cold"  # of both, which are one command, it comes first
        said.setdefault((call, target), []).append(int(last[0]) / seconds / 1e6)
    assert {key: len(rates) for key, rates in said.items()} == dict.fromkeys(said, 2)
    assert len(said) == 4 * 3
    for (call, target), rates in said.items():
        assert found[call, 4096, target]["rounds"] == pytest.approx(rates, abs=1e-3)


@pytest.mark.long
def test_bench_rewrite_is_one(mounted: Path) -> None:
    """By the driver's rules a write-only open would empty the device: it keeps its ends."""
    device = mounted / "scullv0"
    with open(device, "r+b", buffering=0) as file:
        file.write(b"\xa5" * (64 * KIB))
    report = run("rewrite", str(device), 4 * KIB, 15)
    assert report.bytes == 14 * 4 * KIB
    kept = b"\xa5" * (4 * KIB)
    assert device.read_bytes() == kept + bytes(14 * 4 * KIB) + kept


@pytest.mark.long
def test_bench_semantics_file(scullvfs: Any) -> None:
    """By the rules of a regular file no call is short."""
    done = scullvfs("bench", "-o", "mem=16M,semantics=file", "--sizes", "128K", "--json", *QUICK)
    assert {result["short_calls"] for result in results(done).values()} == {0}


@pytest.mark.long
def test_bench_csv_into_a_file(scullvfs: Any, tmp_path: Path) -> None:
    """The table stays on stdout."""
    output = tmp_path / "bench.csv"
    arguments = ("--sizes", "4K", "--no-floor", "--csv", "--output", output, *QUICK)
    done = scullvfs("bench", "-o", "mem=16M", *arguments)
    assert done.returncode == 0
    assert "median of 2 rounds" in done.stdout
    lines = output.read_text().splitlines()
    assert lines[0].startswith("call,block_size,target,bytes,mb_per_s,spread")
    assert [line.split(",")[2] for line in lines[1:]] == ["scullvfs", "tmpfs"] * 4


@pytest.mark.long
def test_bench_verbose(scullvfs: Any, logged: Path) -> None:
    """The commands as they can be typed, each with its rate."""
    done = scullvfs("bench", "-v", "-o", "mem=16M", "--sizes", "4K", "--no-floor", *QUICK)
    shown = [line.rpartition(": ")[0].removeprefix("dd ") for line in done.stderr.splitlines()]
    assert shown == [arguments for arguments, _, _ in records(logged)]


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where matplotlib writes down which fonts there are, which it takes seconds to find."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_bench_plot(scullvfs: Any, tmp_path: Path, fonts: Path, kind: str) -> None:
    """A picture of the kind that its name says."""
    picture = tmp_path / f"bench.{kind}"
    scullvfs.env["MPLCONFIGDIR"] = str(fonts)
    done = scullvfs("bench", "-o", "mem=16M", "--sizes", "4K,8K", "--plot", picture, *QUICK)
    assert done.returncode == 0, done.stderr
    start = picture.read_bytes()[:200]
    assert (
        start.startswith(b"\x89PNG\r\n\x1a\n") if kind == "png" else b"<svg" in picture.read_bytes()
    )


@pytest.mark.long
def test_bench_without_a_compiler(scullvfs: Any, tmp_path: Path) -> None:
    """There is no floor then, and the reason is said."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("dd", "fusermount3"):
        (programs / name).symlink_to(str(shutil.which(name)))
    scullvfs.env["PATH"] = str(programs)
    done = scullvfs("bench", "-o", "mem=16M", "--sizes", "4K", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nno floor beside it: cc is missing; run 'apt install gcc libc6-dev'\n" in done.stdout
    assert " / floor" not in done.stdout


@pytest.mark.long
def test_bench_floor_does_not_compile(scullvfs: Any, tmp_path: Path) -> None:
    """The rest is measured all the same."""
    write_program(tmp_path / "bin/cc", "echo 'floor.c:1: fatal error: no luck' >&2; exit 1")
    scullvfs.env["PATH"] = f"{tmp_path}/bin:{scullvfs.env['PATH']}"
    done = scullvfs("bench", "-o", "mem=16M", "--sizes", "4K", *QUICK)
    assert done.returncode == 0
    assert "no floor beside it: cc does not compile the floor: floor.c:1: fatal" in done.stdout


# A mount that is there


@pytest.mark.long
def test_bench_mount(scullvfs: Any, mounted: Path) -> None:
    """Its device is overwritten and empty in the end; the others and the mount stay."""
    for name in ("scullv0", "scullv1"):
        (mounted / name).write_bytes(b"precious")
    daemon = scullvfs.pid(mounted)
    done = scullvfs("bench", "--sizes", "4K", "--no-floor", *QUICK, mounted)
    assert done.returncode == 0, done.stderr
    assert f"\ndd on {mounted}/scullv0\n" in done.stdout
    assert (mounted / "scullv0").stat().st_size == 0
    assert (mounted / "scullv1").read_bytes() == b"precious"
    assert scullvfs.pid(mounted) == daemon


@pytest.mark.long
@pytest.mark.parametrize("how", ["option", "path", "relative"])
def test_bench_mount_device(
    scullvfs: Any, mounted: Path, logged: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The device is named by --device or by its own path."""
    monkeypatch.chdir(mounted.parent)
    where = {
        "option": ("--device", "scullv2", mounted),
        "path": (mounted / "scullv2",),
        "relative": (Path(mounted.name) / "scullv2",),
    }[how]
    done = scullvfs("bench", "--sizes", "4K", "--no-floor", "--no-tmpfs", *QUICK, *where)
    assert done.returncode == 0, done.stderr
    assert all(f"{mounted}/scullv2" in arguments for arguments, _, _ in records(logged))


@pytest.mark.long
@pytest.mark.parametrize("where", ["own", "there"])
def test_bench_of_another_driver(scullvfs: Any, mountpoint: Path, logged: Path, where: str) -> None:
    """Its own mount loads the driver of the device; of one that is there the first is taken."""
    quick = ("--sizes", "4K", "--no-floor", "--no-tmpfs", *QUICK)
    if where == "own":
        device = "scullp1"
        what = "scullp1 of a temporary mount -o drivers=scullp -o mem=16M,scullp_order=1"
        done = scullvfs("bench", "--device", device, "-o", "mem=16M,scullp_order=1", *quick)
    else:
        device, what = "scull0", f"{mountpoint}/scull0"
        assert scullvfs("mount", "-o", "drivers=scull,mem=16M", mountpoint).returncode == 0
        done = scullvfs("bench", *quick, mountpoint)
        assert scullvfs("umount", mountpoint).returncode == 0
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\ndd on {what}\n" in done.stdout
    assert all(f"/{device}" in arguments for arguments, _, _ in records(logged))


@pytest.mark.long
def test_bench_of_a_driver_that_is_named(scullvfs: Any) -> None:
    """Nothing is added where the drivers are named."""
    options = ("-o", "drivers=scullp,mem=16M", "--device", "scullp0")
    done = scullvfs("bench", *options, "--sizes", "4K", "--no-floor", "--no-tmpfs", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    heading = done.stdout.splitlines()[1]
    assert heading == "dd on scullp0 of a temporary mount -o drivers=scullp,mem=16M"


@pytest.mark.long
def test_bench_of_a_driver_that_is_not_loaded(scullvfs: Any) -> None:
    """Whoever names the drivers gets these."""
    done = scullvfs("bench", "--device", "scullp0", "-o", "drivers=scull,mem=16M", *QUICK)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("scullvfs: there is no device scullp0 in ")


@pytest.mark.long
def test_bench_mount_pinned(scullvfs: Any, mounted: Path, logged: Path, tmp_path: Path) -> None:
    """dd, the floor and the daemon run on the CPU meanwhile, and then where they did before."""
    before = os.sched_getaffinity(scullvfs.pid(mounted))
    cpu = max(os.sched_getaffinity(0))
    script = (tmp_path / "bin/dd").read_text()
    where = f"$cpus $(taskset -cp {scullvfs.pid(mounted)} | sed 's/.*: //')"
    (tmp_path / "bin/dd").write_text(script.replace('"$cpus"', f'"{where}"'))
    done = scullvfs("bench", "--pin", cpu, "--sizes", "4K", *QUICK, mounted)
    assert done.returncode == 0, done.stderr
    assert {cpus for _, cpus, _ in records(logged)} == {f"{cpu} {cpu}"}
    assert f"dd and the servers pinned to CPU {cpu}" in done.stdout
    assert os.sched_getaffinity(scullvfs.pid(mounted)) == before


# The end


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_bench_interrupted(
    scullvfs: Any, temporary: Path, wait: Callable[..., None], signum: int
) -> None:
    """Mount, floor, dd and directories are gone, and one line says why."""
    bench = scullvfs.start("bench", "--sizes", "512", "--seconds", "20", "--bytes", "1G")
    with bench:
        wait(lambda: bench.poll() is not None or running_dd(scullvfs, 1 * MIB), "dd is running")
        assert len(os.listdir(temporary)) >= 3  # the mount, the floor, and its program
        bench.send_signal(signum)
        out, err = bench.communicate(timeout=30)
    # click ends the line that the terminal has begun with ^C.
    assert (bench.returncode, out, err) == (130, "", "\nscullvfs: interrupted\n")


def running_dd(scullvfs: Any, least: int) -> bool:
    """Whether a dd of the test runs that has at least so many bytes to move."""
    for pid in scullvfs.processes():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        counts = [int(word[6:]) for word in words if word.startswith(b"count=")]
        if words[0] == b"dd" and counts and counts[0] * 512 >= least:
            return True
    return False


@pytest.mark.long
def test_bench_ends_its_daemon(scullvfs: Any, temporary: Path, wait: Callable[..., None]) -> None:
    """Although a process looks into the temporary mount, all is gone in the end."""
    bench = scullvfs.start("bench", "--sizes", "512", "--seconds", "20", "--bytes", "1G")
    with bench:
        wait(lambda: bench.poll() is not None or running_dd(scullvfs, MIB), "dd is running")
        (inside,) = temporary.glob("*/scullv1")
        with open(inside, "rb"):
            bench.send_signal(signal.SIGINT)
            assert bench.wait(30) == 130
            wait(lambda: not scullvfs.processes(), "the daemon is gone")


@pytest.mark.long
def test_bench_mount_interrupted(scullvfs: Any, mounted: Path, wait: Callable[..., None]) -> None:
    """A mount that was there stays, its device empty."""
    arguments = ("--sizes", "512", "--seconds", "20", "--bytes", "1G", "--no-floor", mounted)
    with scullvfs.start("bench", *arguments) as bench:
        wait(lambda: bench.poll() is not None or running_dd(scullvfs, MIB), "dd is running")
        bench.send_signal(signal.SIGINT)
        assert bench.wait(30) == 130
    assert (mounted / "scullv0").stat().st_size == 0


@pytest.mark.long
def test_bench_fails_in_the_middle(scullvfs: Any) -> None:
    """Memory that runs out is dd's error, with its command; everything is taken away again."""
    # A quantum of 8 MiB has no room beside the machine's own tables.
    done = scullvfs("bench", "-o", "mem=8M,order=11,qset=1", "--sizes", "4K", *QUICK)
    line = refusal(done, 1)
    assert line.startswith("'dd if=/dev/zero of=")
    assert line.endswith(": Cannot allocate memory")


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["/no/such/mount"], 7, "/no/such/mount is neither a scullvfs mount nor a device in one; "),
        (["/proc"], 7, "/proc is neither a scullvfs mount nor a device in one; "),
        ([""], 7, "cannot look for '': No such file or directory"),
        (["-o", "devs=1", "/proc"], 2, "-o is for a temporary mount, but /proc is mounted already"),
        (["-o", "ordr=1"], 2, "unknown option 'ordr'; did you mean 'order'?"),
        (["--sizes", "4K-"], 2, "--sizes 4K- is not possible; "),
        (["--bytes", "much"], 2, "--bytes much is not possible; "),
        (["--output", "/dev/null"], 2, "--output needs --json or --csv"),
        (["--pin", "4095"], 2, "--pin 4095 is not possible; the CPUs for this process are "),
        (["--plot", "bench.txt"], 2, "--plot bench.txt is not possible; the name must end in "),
        (["--plot", "/no/such/bench.png"], 2, "--plot /no/such/bench.png is not possible; you "),
        (["-o", "mem=16M", "--device", "scullv4"], 2, "there is no device scullv4 in "),
        (["-o", "mem=16M", "--device", "proc"], 2, "there is no device proc in "),
        (["-o", "mem=4M", "--sizes", "4M"], 1, "blocks of 4M need room for 16M, and there is "),
    ],
)
def test_bench_refusal(scullvfs: Any, arguments: list[str], status: int, words: str) -> None:
    """One line that says what is wrong."""
    assert refusal(scullvfs("bench", *arguments), status).startswith(words)


@pytest.mark.long
def test_bench_mount_contradiction(scullvfs: Any, mounted: Path) -> None:
    """Two devices are one too many."""
    done = scullvfs("bench", "--device", "scullv1", mounted / "scullv2")
    assert refusal(done, 2).endswith(" are not the same device; give only one")


def test_bench_mount_dead(scullvfs: Any, mounted: Path) -> None:
    """How to clear it away is said."""
    os.kill(scullvfs.pid(mounted), signal.SIGKILL)
    assert refusal(scullvfs("bench", mounted), 7) == (
        f"the mount on {mounted} is dead; 'scullvfs umount {shell_word(mounted)}' clears it away"
    )


def test_bench_without_matplotlib(scullvfs: Any, tmp_path: Path) -> None:
    """Said before anything is measured, with what to install."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['matplotlib'] = None\n")
    scullvfs.env["PYTHONPATH"] = f"{tmp_path}:{scullvfs.env['PYTHONPATH']}"
    assert refusal(scullvfs("bench", "--plot", "bench.png"), 1) == (
        "--plot needs matplotlib; run 'pip install scullvfs[plot]' or 'pip install matplotlib'"
    )


@pytest.mark.long
def test_bench_other_dd(scullvfs: Any, tmp_path: Path) -> None:
    """A dd that says nothing of its speed is of no use."""
    write_program(tmp_path / "bin/dd", "exit 0")
    scullvfs.env["PATH"] = f"{tmp_path}/bin:{scullvfs.env['PATH']}"
    line = refusal(scullvfs("bench", "-o", "mem=16M", "--no-floor"), 1)
    assert line.endswith("says nothing of its speed; bench needs GNU or busybox dd")


@pytest.mark.long
def test_bench_on_a_terminal(scullvfs: Any) -> None:
    """A bar that grows is drawn on the terminal only; the table is not mixed with it."""
    command = [*scullvfs.command, "bench", "-o", "mem=16M", "--sizes", "4K", "--no-floor", *QUICK]
    primary, secondary = os.openpty()
    with subprocess.Popen(
        command, env=scullvfs.env, stdout=subprocess.PIPE, stderr=secondary, text=True
    ) as bench:
        os.close(secondary)
        assert bench.stdout is not None
        table = bench.stdout.read()
    drawn = os.read(primary, MIB).decode()
    os.close(primary)
    assert bench.returncode == 0
    assert "measuring" in drawn
    assert "100%" in drawn
    assert "measuring" not in table


RULES = {
    "semantics=device": targets.UNCACHED,
    "semantics=file": targets.CACHED,
    "semantics=file,writeback": targets.WRITEBACK,
}


@pytest.mark.long
@pytest.mark.parametrize("options", RULES)
def test_floor_uses_the_page_cache_as_the_device_does(
    mount: Callable[[str], Path], options: str
) -> None:
    """By what the kernel lets one do then: share a mapping, write while the server is stopped."""
    with (
        targets.existing_mount(str(mount(options)), None, None) as ours,
        floor(ours.cache) as beside,
    ):
        assert ours.cache == beside.cache == RULES[options]
        for target in (ours, beside):
            with open(target.file, "r+b", buffering=0) as file:
                file.write(bytes(4096))
                if target.cache == targets.UNCACHED:
                    with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
                        mmap.mmap(file.fileno(), 4096)
                else:
                    mmap.mmap(file.fileno(), 4096).close()
                if target.cache == targets.WRITEBACK:
                    assert target.server is not None
                    os.kill(target.server, signal.SIGSTOP)
                    try:
                        assert os.pwrite(file.fileno(), bytes(4096), 0) == 4096
                    finally:
                        os.kill(target.server, signal.SIGCONT)
