"""`scullvfs mount` where it cannot be: each reason made real, each with its one line.

Missing parts are hidden in a mount namespace of the test's own; the ordinary user is
`nobody`. The system itself is not changed.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import scullvfs as package
from scullvfs.text import shell_word

from ..troubles import refusal
from .elsewhere import OPEN_DEVICE, Elsewhere, needs_root

ROOT = Path(package.__file__).parents[1]


# The mount point


@pytest.mark.parametrize("path", ["/no/such/directory", "/etc/no-such-link"])
def test_mount_point_missing(scullvfs: Any, path: str) -> None:
    """Says how to make one."""
    assert refusal(scullvfs("mount", path), "missing").startswith(f"{path} does not exist; ")


def test_mount_point_empty(scullvfs: Any) -> None:
    """As where a variable of a script is not set."""
    refusal(scullvfs("mount", ""), "empty-path")


@pytest.mark.parametrize("command", ["map", "show", "status", "trace", "umount"])
def test_path_empty(scullvfs: Any, command: str) -> None:
    """Elsewhere it is seen in the message; and of all mounts it means none."""
    assert refusal(scullvfs(command, ""), "no-path") == (
        "cannot look for '': No such file or directory"
    )


@needs_root
@pytest.mark.parametrize("command", ["mount {}", "umount {}", "status", "doctor --no-mount"])
def test_without_proc(elsewhere: Elsewhere, mountpoint: Path, command: str) -> None:
    """As in a chroot, where somebody has yet to mount it."""
    line = command.format(shlex.quote(str(mountpoint)))
    refusal(elsewhere("mount -t tmpfs none /proc", f"scullvfs {line}"), "no-proc")


@pytest.mark.long
def test_mount_point_not_a_directory(scullvfs: Any, tmp_path: Path) -> None:
    """A file cannot hold a directory of devices."""
    file = tmp_path / "file"
    file.touch()
    assert refusal(scullvfs("mount", file), "not-a-directory").startswith(
        f"{file} is not a directory; "
    )
    assert refusal(scullvfs("mount", file / "below"), "not-a-directory").startswith(
        f"{file}/below is not a dir"
    )


def test_mount_point_not_empty(scullvfs: Any, mountpoint: Path) -> None:
    """Nothing is hidden under a mount by mistake."""
    (mountpoint / ".hidden").touch()
    assert refusal(scullvfs("mount", mountpoint), "not-empty") == (
        f"{mountpoint} is not empty; mount on an empty directory"
    )


def test_mount_point_loop(scullvfs: Any, tmp_path: Path) -> None:
    """Whatever else the kernel says against a path is passed on."""
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(scullvfs("mount", tmp_path / "loop"), "mount-point") == (
        f"cannot mount on {tmp_path}/loop: Too many levels of symbolic links"
    )


@pytest.mark.long
def test_mount_point_mounted_by_scullvfs(scullvfs: Any, mounted: Path) -> None:
    """The daemon that is there is named."""
    assert refusal(scullvfs("mount", mounted), "living-mount") == (
        f"scullvfs is already mounted on {mounted} (pid {scullvfs.pid(mounted)}); "
        f"'scullvfs umount {shell_word(mounted)}' takes it down"
    )


def test_mount_point_mounted_by_another(scullvfs: Any) -> None:
    """Any other mount on it counts, too."""
    assert refusal(scullvfs("mount", "/proc"), "other-mount") == (
        "/proc is already mounted on (type proc); choose another directory"
    )


# The user


@pytest.mark.long
@needs_root
def test_ordinary_user_mounts(elsewhere: Elsewhere, theirs: Path) -> None:
    """With fusermount3 and /dev/fuse, nobody can mount, use and unmount."""
    script = f"""
        nobody mount -o mem=16M {theirs}
        findmnt -no FSTYPE,OPTIONS {theirs}
        nobody umount {theirs}
        ! mountpoint -q {theirs}
    """
    done = elsewhere(OPEN_DEVICE, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fuse.scullvfs ")
    assert "user_id=65534,group_id=65534" in done.stdout


@pytest.mark.long
@needs_root
@pytest.mark.usefixtures("open_to_others")
def test_ordinary_user_benchmarks(elsewhere: Elsewhere, theirs: Path) -> None:
    """On a mount and a floor of their own, through fusermount3."""
    quick = "-o mem=16M --sizes 4K --rounds 1 --seconds 0.001 --bytes 64K"
    script = f"""
        TMPDIR={theirs} nobody bench {quick} --csv
        ! find {theirs} /dev/shm -name 'scullvfs-bench-*' -user nobody | grep .
    """
    done = elsewhere(OPEN_DEVICE, script)
    assert (done.returncode, done.stderr) == (0, "")
    targets = [line.split(",")[2] for line in done.stdout.splitlines()[1:]]
    assert targets == ["scullvfs", "tmpfs", "floor"] * 4  # cold, write, rewrite, read


@pytest.mark.long
@needs_root
def test_root_unmounts_for_an_ordinary_user(elsewhere: Elsewhere, theirs: Path) -> None:
    """Though FUSE keeps even root out of the mount, root finds its daemon and waits for it."""
    script = f"""
        nobody mount -o mem=16M {theirs}
        ! ls {theirs} 2>/dev/null
        scullvfs umount {theirs}
        ! mountpoint -q {theirs}
    """
    done = elsewhere(OPEN_DEVICE, script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
@needs_root
def test_ordinary_user_cannot_unmount_for_root(elsewhere: Elsewhere, theirs: Path) -> None:
    """Whose mount it is is said."""
    script = f"""
        scullvfs mount -o mem=16M {theirs}
        set +e
        nobody umount {theirs}
        status=$?
        scullvfs umount {theirs}
        exit $status
    """
    assert refusal(elsewhere(OPEN_DEVICE, script), "others-mount") == (
        f"{theirs} was mounted by root; only they and root may unmount it"
    )


@pytest.mark.long
@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_mount_point_of_another_user(elsewhere: Elsewhere, scratch: Path, mode: int) -> None:
    """An ordinary user mounts only where they can write, or own what is sticky."""
    path = scratch / "not-theirs"
    path.mkdir()
    path.chmod(mode)
    done = elsewhere(OPEN_DEVICE, f"nobody mount {path}")
    assert refusal(done, "not-yours").startswith(f"you may not mount on {path}; ")


@pytest.mark.long
@needs_root
@pytest.mark.parametrize("name", ["private", "private/mnt"])
def test_mount_point_unreadable(elsewhere: Elsewhere, scratch: Path, name: str) -> None:
    """Neither can they where they cannot look."""
    (scratch / "private" / "mnt").mkdir(parents=True)
    (scratch / "private").chmod(0o700)
    done = elsewhere(OPEN_DEVICE, f"nobody mount {scratch / name}")
    assert refusal(done, "unreadable").startswith(f"you may not look into {scratch / name}; ")


@pytest.mark.long
@needs_root
def test_device_closed_to_the_user(elsewhere: Elsewhere, theirs: Path) -> None:
    """/dev/fuse for root only."""
    closed = OPEN_DEVICE + "chmod 600 /dev/fuse"
    assert refusal(elsewhere(closed, f"nobody mount {theirs}"), "device-closed").startswith(
        "you may not open /dev/fuse; "
    )


@pytest.mark.long
@needs_root
@pytest.mark.parametrize("conf", ["", "#user_allow_other\n"])
def test_allow_other_forbidden(elsewhere: Elsewhere, theirs: Path, conf: str) -> None:
    """An ordinary user needs root's leave for allow_other."""
    (elsewhere.scratch / "fuse.conf").write_text(conf)
    change = OPEN_DEVICE + "mount --bind {scratch}/fuse.conf /etc/fuse.conf"
    done = elsewhere(change, f"nobody mount -o allow_other {theirs}")
    assert refusal(done, "allow-other").startswith("allow_other is closed to ordinary users; ")


@pytest.mark.long
@needs_root
def test_allow_other_allowed(elsewhere: Elsewhere, theirs: Path) -> None:
    """With it, everybody may come in."""
    change = OPEN_DEVICE + "echo user_allow_other > /etc/fuse.conf"
    script = f"""
        nobody mount -o allow_other,mem=16M {theirs}
        test -e {theirs}/scullv0
        nobody umount {theirs}
    """
    done = elsewhere(change, script)
    assert (done.returncode, done.stderr) == (0, "")


# What is missing on the machine


@pytest.mark.long
@needs_root
def test_mtab_missing(elsewhere: Elsewhere, theirs: Path) -> None:
    """Ordinary users need it, too: fusermount3 would not unmount again."""
    change = OPEN_DEVICE + "rm /etc/mtab"
    assert refusal(elsewhere(change, f"nobody mount {theirs}"), "no-mtab") == (
        "/etc/mtab is missing, without which fusermount3 does not unmount; "
        "ask root to run 'ln -s /proc/self/mounts /etc/mtab'"
    )


@pytest.mark.long
@needs_root
def test_fusermount_missing(elsewhere: Elsewhere, theirs: Path) -> None:
    """Ordinary users need it."""
    change = OPEN_DEVICE + 'mount --bind /dev/null "$(command -v fusermount3)"'
    assert refusal(elsewhere(change, f"nobody mount {theirs}"), "no-fusermount") == (
        "fusermount3 is missing, without which only root can mount; run 'apt install fuse3'"
    )


@pytest.mark.long
@needs_root
@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ("mount -t tmpfs tmpfs /dev", "no-device"),
        ("mount --bind /dev/null /dev/fuse", "other-device"),
        ("mount --bind /etc/hostname /dev/fuse", "not-a-device"),
    ],
)
def test_device_missing(elsewhere: Elsewhere, theirs: Path, change: str, trouble: str) -> None:
    """Says how to get it, in a container, too."""
    said = refusal(elsewhere(change, f"scullvfs mount {theirs}"), trouble)
    assert "modprobe fuse" in said
    assert "--device /dev/fuse" in said


def libfuse() -> Path:
    """The library that pyfuse3 loads, by the path that the dynamic linker finds it at."""
    pyfuse3 = find_spec("pyfuse3")
    assert pyfuse3 is not None
    assert pyfuse3.origin is not None
    linked = subprocess.check_output(["ldd", pyfuse3.origin], text=True)
    (path,) = re.findall(r"=> (\S+/libfuse3\.so\.\d+) ", linked)
    return Path(path)


@pytest.mark.long
@needs_root
@pytest.mark.parametrize("damage", ["", ": >{scratch}/lib/%s"], ids=["missing", "empty"])
def test_libfuse_missing(elsewhere: Elsewhere, theirs: Path, damage: str) -> None:
    """The Debian package is named, whether the library is gone or broken."""
    library = libfuse()
    change = (
        f"lib=$(readlink -f {library.parent})\n"
        # The library's directory anew, full of links to what was in it.
        "mkdir {scratch}/lib {scratch}/was\n"
        "mount --bind $lib {scratch}/was\n"
        "cp -as {scratch}/was/. {scratch}/lib\n"
        "rm {scratch}/lib/libfuse3.so*\n"
        f"{damage.replace('%s', library.name)}\n"
        "mount --bind {scratch}/lib $lib\n"
    )
    owner = subprocess.check_output(["dpkg", "-S", f"*/{library.name}"], text=True)
    package = owner.partition(":")[0]
    script = "scullvfs doctor --no-mount >{scratch}/doctor || true\n"
    done = elsewhere(change + script, f"scullvfs mount {theirs}")
    words = f"the FUSE library {library.name} is missing or broken; run 'apt install {package}'"
    assert refusal(done, "no-libfuse") == words
    assert words in " ".join((elsewhere.scratch / "doctor").read_text().split())


def without_package(name: str, directory: Path) -> None:
    """Fill `directory` with links to all installed packages but `name`."""
    for path in sys.path:
        if path.endswith("-packages") and os.path.isdir(path):
            for entry in Path(path).iterdir():
                if not entry.name.startswith(name) and not (directory / entry.name).exists():
                    (directory / entry.name).symlink_to(entry)


@pytest.mark.long
@pytest.mark.parametrize("name", ["pyfuse3", "trio"])
def test_package_missing(scullvfs: Any, mountpoint: Path, tmp_path: Path, name: str) -> None:
    """Without pyfuse3 or trio everything works but to mount, and that says why."""
    packages = tmp_path / "packages"
    packages.mkdir()
    without_package(name, packages)
    scullvfs.env["PYTHONPATH"] = f"{packages}:{ROOT}"
    scullvfs.command = [sys.executable, "-S", "-m", "scullvfs"]
    assert scullvfs("--help").returncode == 0
    assert f"{name} missing" in scullvfs("--version").stdout
    for arguments in (["mount"], ["mount", "-f"]):
        assert refusal(scullvfs(*arguments, mountpoint), "no-package") == (
            f"the Python package {name} is missing; run 'pip install {name}'"
        )


# What is asked for


def test_more_memory_than_there_is(scullvfs: Any, mountpoint: Path) -> None:
    """Says how much the host could give."""
    assert refusal(scullvfs("mount", "-o", "mem=64T", mountpoint), "host-memory").startswith(
        "mem=64T is more than this host can give now; choose mem="
    )


def test_more_memory_than_the_architecture_has(scullvfs: Any, mountpoint: Path) -> None:
    """It is refused with the options, whatever the host has."""
    done = scullvfs("mount", "-o", "arch=i386,mem=4100M", mountpoint)
    assert "i386" in refusal(done, "mem-arch")


@pytest.mark.parametrize(
    ("option", "trouble"),
    [
        ("ordr=3", "unknown-option"),
        ("nothing-like-it", "unknown-option"),
        ("nofail", "unknown-option"),
        ("remount", "remount"),
        ("remount,order=2", "remount"),
        ("order=19", "option-value"),
        ("mem=1", "option-value"),
        ("order", "option-no-value"),
        ("allow_other=1", "option-flag"),
        ("order=3,scullv_order=4", "option-contradiction"),
    ],
)
def test_usage_comes_first(scullvfs: Any, option: str, trouble: str) -> None:
    """A mistake in the options is told before anything is looked at."""
    refusal(scullvfs("mount", "-o", option, "/no/such/directory"), trouble)


def test_unknown_command(scullvfs: Any) -> None:
    """A slip of the pen."""
    refusal(scullvfs("moutn", "/no/such/directory"), "unknown-command")


@pytest.mark.long
def test_more_devices_than_memory(scullvfs: Any, mountpoint: Path) -> None:
    """The driver's own structures have to fit; all devices that there may be fit into 4M."""
    all_of_them = "drivers=scullv:scullp:scullc:scull,devs=1000,scullp_devs=1000,scullc_devs=1000"
    for options in ("devs=1000", f"{all_of_them},scull_nr_devs=1000"):
        assert scullvfs("mount", "-o", f"mem=4M,{options}", mountpoint).returncode == 0
        assert scullvfs("umount", mountpoint).returncode == 0
    program = (
        "import errno\n"
        "from scullvfs.daemon import build\n"
        "def full(*_, **__): raise OSError(errno.ENOMEM, 'no memory')\n"
        "build.Module = full\n"
        "from scullvfs.cli import main\n"
        "main()\n"
    )
    scullvfs.command = [sys.executable, "-c", program]
    refusal(scullvfs("mount", "-o", "mem=16M", mountpoint), "mem-devs")


@pytest.mark.long
def test_more_devices_than_a_block(scullvfs: Any, mountpoint: Path) -> None:
    """More memory would not help where no block of the structures' order is left."""
    done = scullvfs("mount", "-o", "fragment=100,devs=1000", mountpoint)
    refusal(done, "mem-fragment")


@pytest.mark.long
def test_address_space_limited(scullvfs: Any, mountpoint: Path) -> None:
    """A limit on the process's address space is found when the machine is built."""
    command = shlex.join([*scullvfs.command, "mount", "-o", "mem=2G", str(mountpoint)])
    refusal(scullvfs.run(["sh", "-c", f"ulimit -v 1500000 && exec {command}"]), "host-refuses")


@pytest.mark.long
@needs_root
@pytest.mark.parametrize("state", ["{scratch}/file", "/proc/nope", "/sys/nope"])
def test_silent(elsewhere: Elsewhere, theirs: Path, state: str) -> None:
    """Neither syslog nor a file; the mount works all the same, and doctor knows."""
    change = "mkdir -p {scratch}/dev; mount -t tmpfs tmpfs {scratch}/dev; cd {scratch}/dev\n"
    change += "mknod fuse c 10 229; mknod -m 666 null c 1 3; mount --bind . /dev; cd /\n"
    change += f"touch {{scratch}}/file; export XDG_STATE_HOME={state}"
    script = f"scullvfs mount -o mem=16M {theirs}; scullvfs umount {theirs}"
    refusal(elsewhere(change, script), "silent")
    found = elsewhere(change, "scullvfs doctor --no-mount --json").stdout
    (log,) = [check for check in json.loads(found) if check["name"] == "log"]
    assert log["verdict"] == "warn"
    assert "only 'scullvfs mount -f' shows" in log["text"]
