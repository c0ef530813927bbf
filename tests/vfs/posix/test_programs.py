"""Programs that know nothing of devices run on one with `semantics=file`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..helpers import MIB, shell
from .helpers import DATA, QUANTUM

FIO = (
    'truncate -s 2M "$mnt"/scullv[0-3];'
    " fio --name=job --directory=$mnt --filename_format='scullv$jobnum' --numjobs=4 --size=2M"
    " --bsrange=512-96k --bs_unaligned=1 --verify=crc32c --verify_fatal=1 --verify_state_save=0"
    " --output-format=json"
)
"""One job for each device, which gets its size first: to make a file larger, fio removes it
and makes a new one, and no name can be removed.  $jobnum is fio's own variable."""


def need(program: str) -> None:
    """Skip the test where a program is missing; in CI fail it."""
    if shutil.which(program) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has to run {program}, which is not installed")
        pytest.skip(f"{program} is not installed")


def run(command: str, **variables: object) -> str:
    """What a command line prints; nothing in it may fail or complain."""
    done = shell(f"set -eo pipefail; {command}", **variables)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def used(path: Path) -> int:
    """Bytes that a file takes."""
    return path.stat().st_blocks * 512


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A file of 20 MiB with data at its start, in the middle and at its end."""
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        for pos in (0, 9 * MIB + 4096, 20 * MIB - len(DATA)):
            file.seek(pos)
            file.write(DATA)
    return path


# -- fio -----------------------------------------------------------------------------------------


def fio(mnt: Path, options: str) -> tuple[int, int]:
    """Run fio's jobs; returns the bytes that they wrote, and read."""
    need("fio")
    report = run(f"{FIO} {options}", mnt=mnt)
    jobs = json.loads(report[report.index("{") :])["jobs"]
    assert [job["error"] for job in jobs] == [0] * 4
    return sum(job["write"]["io_bytes"] for job in jobs), sum(
        job["read"]["io_bytes"] for job in jobs
    )


@pytest.mark.long
@pytest.mark.parametrize("engine", ["psync", "vsync", "mmap"])
@pytest.mark.parametrize("pattern", ["write", "randwrite", "randrw"])
def test_fio_verify(mnt: Path, pattern: str, engine: str) -> None:
    """Four jobs at once find what they wrote on four devices, in sequence and at random."""
    written, read = fio(mnt, f"--rw={pattern} --ioengine={engine}")
    assert read >= written > MIB


@pytest.mark.long
def test_fio_verify_past_the_page_cache(mnt: Path) -> None:
    """Without the page cache the driver gives fio what it took from it, 16 requests in flight."""
    options = "--ioengine=libaio --iodepth=16 --direct=1 --bsrange=4k-64k --bs_unaligned=0"
    written, read = fio(mnt, f"--rw=randwrite {options}")
    assert written == read == 8 * MIB


@pytest.mark.long
def test_fio_verify_later(mnt: Path) -> None:
    """A second fio, with the page cache dropped, finds what the first one wrote."""
    written, _ = fio(mnt, "--rw=randwrite --do_verify=0")
    _, read = fio(mnt, "--rw=randwrite --verify_only=1")
    assert read == written > MIB


@pytest.mark.long
def test_fio_verify_finds_a_changed_byte(mnt: Path) -> None:
    """What the tests above rely on: fio does notice a byte that is not as it was written."""
    fio(mnt, "--rw=write --do_verify=0")
    with open(mnt / "scullv2", "r+b") as device:
        device.seek(MIB)
        byte = device.read(1)[0]
        device.seek(MIB)
        device.write(bytes([byte ^ 1]))
    done = shell(f"{FIO} --rw=write --verify_only=1", mnt=mnt)
    assert done.returncode == 1
    assert "verify" in done.stderr + done.stdout


# -- cp, dd, tar ---------------------------------------------------------------------------------


def test_cp_sparse(mnt: Path, sparse: Path) -> None:
    """`cp --sparse=always` leaves holes where there are zeros, to a device and from it."""
    device, copy = mnt / "scullv0", sparse.with_name("copy")
    run('cp --sparse=always "$source" "$device"', source=sparse, device=device)
    run('cmp "$source" "$device"', source=sparse, device=device)
    assert 3 * len(DATA) <= used(device) <= 3 * (len(DATA) + 2 * QUANTUM)
    run('cp --sparse=always "$device" "$copy"', device=device, copy=copy)
    run('cmp "$device" "$copy"', device=device, copy=copy)
    assert used(copy) < 2 * MIB


@pytest.mark.long
def test_cp_device_to_device(mnt: Path, sparse: Path) -> None:
    """`cp` finds the holes of a device by itself; --sparse=never fills them."""
    run('cp --sparse=always "$sparse" "$mnt/scullv0"', sparse=sparse, mnt=mnt)
    run('cp "$mnt/scullv0" "$mnt/scullv1" && cmp "$mnt/scullv0" "$mnt/scullv1"', mnt=mnt)
    assert used(mnt / "scullv1") == used(mnt / "scullv0") < 2 * MIB
    run('cp --sparse=never "$mnt/scullv1" "$mnt/scullv2"; cmp "$sparse" "$mnt/scullv2"',
        mnt=mnt, sparse=sparse)  # fmt: skip
    assert used(mnt / "scullv2") == 20 * MIB
    run('fallocate --dig-holes "$mnt/scullv2"; cmp "$sparse" "$mnt/scullv2"',
        mnt=mnt, sparse=sparse)  # fmt: skip
    assert used(mnt / "scullv2") < 2 * MIB


@pytest.mark.long
def test_dd(mnt: Path, sparse: Path) -> None:
    """dd seeks, skips, appends, keeps what is there, and leaves holes."""
    device = mnt / "scullv0"
    run('dd if="$sparse" of="$device" bs=96k conv=sparse status=none; cmp "$sparse" "$device"',
        sparse=sparse, device=device)  # fmt: skip
    assert used(device) < 3 * MIB
    run('printf x | dd of="$device" bs=1 seek=5000 conv=notrunc status=none', device=device)
    assert device.stat().st_size == 20 * MIB
    assert run(
        'dd if="$device" bs=1 skip=4999 count=3 status=none | od -An -tx1', device=device
    ) == (f" {DATA[4999]:02x} 78 {DATA[5001]:02x}\n")
    run('printf end | dd of="$device" oflag=append conv=notrunc status=none', device=device)
    assert run('tail -c 3 "$device"', device=device) == "end"
    copy = 'dd if="$device" of="$mnt/scullv1" bs=1M iflag=direct oflag=direct status=none'
    run(f'truncate -s 20M "$device"; {copy}; cmp "$device" "$mnt/scullv1"', mnt=mnt, device=device)


@pytest.mark.long
def test_tar_sparse(mnt: Path, sparse: Path, tmp_path: Path) -> None:
    """`tar -S` archives the holes of devices as holes, and extracts them as such."""
    run('cp --sparse=always "$sparse" "$mnt/scullv0"; seq 9999 > "$mnt/scullv1"',
        sparse=sparse, mnt=mnt)  # fmt: skip
    before = used(mnt / "scullv0")
    archive = tmp_path / "devices.tar"
    run('tar -C "$mnt" -cSf "$tar" scullv0 scullv1', mnt=mnt, tar=archive)
    assert archive.stat().st_size < 2 * MIB
    listed = [line.split() for line in run('tar -tvf "$tar"', tar=archive).splitlines()]
    assert [(row[2], row[-1]) for row in listed] == [("20971520", "scullv0"), ("48888", "scullv1")]
    run('tar -C "$to" -xf "$tar"', to=tmp_path, tar=archive)
    run('for n in 0 1; do cmp "$to/scullv$n" "$mnt/scullv$n"; done', to=tmp_path, mnt=mnt)
    run('truncate -s 0 "$mnt/scullv0"; echo 1 > "$mnt/scullv1"', mnt=mnt)
    run('tar -C "$mnt" --overwrite -xf "$tar"; tar -C "$mnt" -df "$tar"', tar=archive, mnt=mnt)
    assert used(mnt / "scullv0") == before


# -- sqlite3 -------------------------------------------------------------------------------------

SQL = """
.bail on
.output /dev/null
.dbconfig defensive off
.output
pragma journal_mode = {mode};
create table numbers (n integer primary key, text);
insert into numbers select value, hex(randomblob(40)) from generate_series(1, 20000);
create index by_text on numbers (text);
delete from numbers where n % 3 = 0;
update numbers set text = 'seven' where n % 7 = 0;
vacuum;
pragma integrity_check;
"""


@pytest.mark.long
@pytest.mark.parametrize("mode", ["off", "memory"])
def test_sqlite(mnt: Path, mode: str) -> None:
    """A database lives on a device, and the next process finds it whole.

    A shell that is defensive refuses to turn the journal off, and says so to nobody.
    """
    need("sqlite3")
    device = mnt / "scullv0"
    assert run('sqlite3 "$device" <<< "$sql"', device=device, sql=SQL.format(mode=mode)) == (
        f"{mode}\nok\n"
    )
    ask = "select count(*), sum(n), sum(text = 'seven') from numbers; pragma integrity_check"
    numbers = [n for n in range(1, 20001) if n % 3]
    sevens = sum(n % 7 == 0 for n in numbers)
    expected = f"{len(numbers)}|{sum(numbers)}|{sevens}\nok\n"
    assert run('sqlite3 "$device" "$ask"', device=device, ask=ask) == expected
    ask = f"pragma mmap_size = 20000000; {ask}"
    assert run('sqlite3 "$device" "$ask"', device=device, ask=ask) == f"20000000\n{expected}"


def test_sqlite_rollback(mnt: Path) -> None:
    """With its journal in memory, a transaction can be taken back."""
    need("sqlite3")
    sql = (
        "pragma journal_mode = memory; create table t (a); insert into t values (1);"
        "begin; insert into t select value from generate_series(1, 9999); rollback;"
        "select count(*) from t; pragma integrity_check"
    )
    assert run('sqlite3 "$mnt/scullv0" "$sql"', mnt=mnt, sql=sql) == "memory\n1\nok\n"


def test_sqlite_journal_in_a_file(mnt: Path) -> None:
    """No journal can be made beside a device: sqlite3 says so, and the database is as it was."""
    need("sqlite3")
    sql = "pragma journal_mode = memory; create table t (a)"
    run('sqlite3 "$mnt/scullv0" "$sql"', mnt=mnt, sql=sql)
    before = (mnt / "scullv0").read_bytes()
    done = shell('sqlite3 "$mnt/scullv0" "insert into t values (1)"', mnt=mnt)
    assert done.returncode != 0
    assert "unable to open database file" in done.stderr
    assert (mnt / "scullv0").read_bytes() == before


# -- others --------------------------------------------------------------------------------------


@pytest.mark.long
def test_sort(mnt: Path) -> None:
    """shuf and sort write, read and rewrite large texts, one device in place."""
    run('seq 200000 > "$mnt/scullv0"; shuf "$mnt/scullv0" -o "$mnt/scullv1"', mnt=mnt)
    assert shell('cmp -s "$mnt/scullv0" "$mnt/scullv1"', mnt=mnt).returncode == 1
    run('sort -n "$mnt/scullv1" -o "$mnt/scullv1"; cmp "$mnt/scullv0" "$mnt/scullv1"', mnt=mnt)
    assert run('wc -l < "$mnt/scullv1"; tail -n 1 "$mnt/scullv1"', mnt=mnt) == "200000\n200000\n"


def test_cmp_finds_the_difference(mnt: Path) -> None:
    """cmp names the one byte in which two devices differ.

    The status is that of cmp without -l: with it, diffutils 3.12 ends with 0 where the first
    difference is behind its first buffer, on any file system.
    """
    (mnt / "scullv0").write_bytes(DATA)
    (mnt / "scullv1").write_bytes(DATA[:70000] + bytes([DATA[70000] ^ 1]) + DATA[70001:])
    done = shell('cmp -l "$mnt/scullv0" "$mnt/scullv1"', mnt=mnt)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["70001"]
    done = shell('cmp "$mnt/scullv0" "$mnt/scullv1"', mnt=mnt)
    assert (done.returncode, " 70001, line " in done.stdout) == (1, True)


def test_python_mmap(mnt: Path) -> None:
    """Python sorts numbers in place in a mapped device, and another process reads them."""
    device = mnt / "scullv0"
    device.write_bytes(DATA[:320_000])
    script = (
        "import mmap, sys\n"
        "with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as mapping:\n"
        "    with memoryview(mapping) as bytes_, bytes_.cast('I') as numbers:\n"
        "        numbers[:] = memoryview(b''.join(\n"
        "            n.to_bytes(4, sys.byteorder) for n in sorted(numbers))).cast('I')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(device)], check=True)
    expected = sorted(memoryview(DATA[:320_000]).cast("I"))
    assert list(memoryview(device.read_bytes()).cast("I")) == expected
