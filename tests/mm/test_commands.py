"""A machine by hand: what each command does, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scullvfs.mm.command_line import MAX_LINE, USAGE, Refused, Why
from scullvfs.mm.commands import MAX_BYTES, Commands
from scullvfs.mm.handles import MAX_HANDLES, MAX_NAME
from scullvfs.mm.layout import PAGE_SIZE, Layout
from scullvfs.mm.machine import Machine

from ..thorough import rounds
from .helpers import MIB, books, texts

DEVICE = 0xFE000000


@pytest.fixture
def commands(lenient: Machine) -> Commands:
    """Those of a machine that goes on after a warning."""
    return Commands(lenient, MAX_BYTES)


@contextmanager
def refused(why: Why) -> Iterator[None]:
    """The command inside is refused for that reason."""
    with pytest.raises(Refused) as info:
        yield
    assert info.value.why is why, info.value


def address(commands: Commands, name: str) -> int:
    """Where a handle's memory is."""
    handle = commands.handles.find(name)
    assert handle is not None
    return handle.address


def test_what_there_is(commands: Commands) -> None:
    """Before the first command the answer is all of them, with their arguments."""
    assert "vmalloc NAME SIZE\n" in commands.answer
    assert len(commands.answer.splitlines()) == len(USAGE)


ALLOCATIONS = {
    "vmalloc": "vmalloc a 65536",
    "vzalloc": "vzalloc a 65535",
    "vmalloc_user": "vmalloc_user a 4097",
    "vmalloc_32": "vmalloc_32 a 4097",
    "vmalloc_huge": "vmalloc_huge a 2097153",
    "kvmalloc": "kvmalloc a 20480",
    "large kvmalloc": "kvmalloc a 8388608",
    "kmalloc": "kmalloc a 100",
    "large kmalloc": "kmalloc a 65536",
    "kmem_cache_alloc": "kmem_cache_alloc a kmalloc-96",
    "kmem_cache_alloc_nowarn": "kmem_cache_alloc_nowarn a kmalloc-8k",
    "get_free_pages": "get_free_pages a 3",
    "gfp": "gfp a 0",
    "ioremap": f"ioremap a {DEVICE:#x} 4096",
    "ioremap in the middle": f"ioremap a {DEVICE + 0x804:#x} 4096",
}


@pytest.mark.parametrize("command", ALLOCATIONS.values(), ids=ALLOCATIONS)
def test_allocated_and_freed(any_arch: Machine, command: str) -> None:
    """The answer is the address; freed, nothing of it is left."""
    commands = Commands(any_arch)
    commands.do("kmalloc warm 100")
    commands.do("free warm")
    before = books(any_arch)
    answer = commands.do(command)
    assert answer == f"{address(commands, 'a'):0{any_arch.layout.pointer_digits}x}\n"
    any_arch.check()
    assert commands.do("free a") == "ok\n"
    assert books(any_arch) == before


def test_object_of_a_cache(lenient: Machine) -> None:
    """By the name of the listing; of a driver's cache, too, and without a word in the log."""
    cache = lenient.slab.kmem_cache_create("scullc", 4000)
    assert cache is not None
    commands = Commands(lenient, MAX_BYTES)
    commands.do("kmem_cache_alloc a scullc")
    assert cache.nr_used == 1
    commands.do("free a")
    assert cache.nr_used == 0
    for name in ("scull", "", "vmap_area"):
        with refused(Why.INVALID):
            commands.do(f"kmem_cache_alloc a {name}")
    before = texts(lenient)
    for command in (
        "kmalloc_nowarn block{} 4194304",
        "kmem_cache_alloc_nowarn object{} kmalloc-8k",
    ):
        with refused(Why.NO_MEMORY):
            for number in range(MAX_HANDLES):
                commands.do(command.format(number))
    assert commands.handles.find("object9")
    assert texts(lenient) == before
    with refused(Why.NO_MEMORY):
        commands.do("kmem_cache_alloc a kmalloc-8k")
    assert texts(lenient) != before


def test_nothing_of_kmalloc(commands: Commands) -> None:
    """No bytes have an address, which is nowhere."""
    assert commands.do("kmalloc a 0") == "0000000000000010\n"
    for command in ("peek a 0", "poke a 0 1"):
        with refused(Why.FAULT):
            commands.do(command)
    assert next(reversed([*commands.handles.lines((0, 0))]))[0].split()[3:] == [
        *(b"0", b"0", b"0", b"-")
    ]
    commands.do("free a")


def test_what_a_handle_has(commands: Commands) -> None:
    """Its bytes are those that the allocator has given, not those that were asked for."""
    sizes = {}
    for name in ("vmalloc", "kmalloc", "get_free_pages", "ioremap", "ioremap in the middle"):
        commands.do(ALLOCATIONS[name])
        handle = commands.handles.find("a")
        assert handle is not None
        sizes[name] = handle.size
        commands.do("free a")
    assert sizes == {
        "vmalloc": 65536,
        "kmalloc": 128,
        "get_free_pages": 32768,
        "ioremap": 4096,
        "ioremap in the middle": 8192 - 0x804,
    }


def test_what_it_costs(commands: Commands) -> None:
    """Entries and frames of each kind, once the tables and the slabs are there."""
    for command in ("vmalloc warm 4096", "kmalloc warm2 8192", f"ioremap warm3 {DEVICE:#x} 4096"):
        commands.do(command)
    costs = {}
    for command in ("vmalloc", "kmalloc", "get_free_pages", "ioremap"):
        commands.do(ALLOCATIONS[command])
        handle = commands.handles.find("a")
        assert handle is not None
        costs[command] = handle.entries, handle.frames
        commands.do("free a")
        commands.do("purge")
    assert costs["vmalloc"] == (16, 17)  # the seventeenth is a slab for its page pointers
    assert costs["get_free_pages"] == (0, 8)
    assert costs["kmalloc"][0] == 0
    assert costs["ioremap"] == (1, 0)


@pytest.mark.parametrize("command", ["vmalloc a 8192", "kmalloc a 8192", "get_free_pages a 1"])
def test_peek_and_poke(commands: Commands, command: str) -> None:
    """What is written is read, across a page, too; numbers in any base."""
    commands.do(command)
    assert commands.do("poke a 4094 0x41 66 0103 0") == "ok\n"
    start = address(commands, "a") + 4093
    assert commands.do("peek a 4094 3") == f"{start + 1:x}: 41 42 43\n"
    commands.do("poke a 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17")
    assert commands.do("peek a 0 17").splitlines() == [
        f"{start - 4093:x}: 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10",
        f"{start - 4093 + 16:x}: 11",
    ]
    assert commands.do("peek a 16") == f"{start - 4093 + 16:x}: 11\n"


@pytest.mark.parametrize(
    "command", ["peek a 65536", "peek a 65535 2", "peek a -1", "poke a 65536 1"]
)
def test_fault(commands: Commands, command: str) -> None:
    """Beyond an area there is nothing: a page fault, and its report in the log."""
    commands.do("vmalloc a 65536")
    commands.do("poke a 65535 7")
    with refused(Why.FAULT):
        commands.do(command)
    at = address(commands, "a") + (-1 if "-1" in command else 65536)
    assert commands.answer == f"page fault at {at:x}\n"
    log = texts(commands._machine)
    assert f"BUG: unable to handle page fault for address: {at:x}" in log
    access = "write" if command.startswith("poke") else "read"
    assert f"#PF: supervisor {access} access in kernel mode" in log
    assert any(line.strip().startswith(f"mm_{command[:4]}") for line in log)
    assert commands.do("peek a 65535").endswith(": 07\n")


WRONG = {
    "NULL": lambda layout: 0,
    "the user's half": lambda layout: layout.page_offset >> 1,
    "no canonical address": lambda layout: 1 << layout.va_bits,
    "the end of RAM": lambda layout: layout.page_offset + 64 * MIB,
    "the end of the window": lambda layout: layout.vmalloc_end - 4096,
    "the last bytes": lambda layout: (1 << 8 * layout.pointer_size) - 16,
}


@pytest.mark.parametrize("place", WRONG.values(), ids=WRONG)
def test_fault_anywhere(any_arch: Machine, place: Callable[[Layout], int]) -> None:
    """Where nothing is, there is a fault, its report, and nothing else."""
    commands = Commands(any_arch)
    commands.do("kmalloc a 8")
    layout = any_arch.layout
    target = place(layout) % (1 << 8 * layout.pointer_size)
    offset = target - address(commands, "a")
    for command in (f"peek a {offset} 16", f"poke a {offset} 1 2 3"):
        before = len(texts(any_arch))
        with refused(Why.FAULT):
            commands.do(command)
        report = texts(any_arch)[before:]
        named = (layout.pointer(target), f"non-canonical address {target:#x}")
        assert any(name in line for line in report for name in named)


@pytest.mark.parametrize("offset", ["-8", "0xfffffffffffffff8"])
def test_an_address_is_as_wide_as_a_pointer(commands: Commands, offset: str) -> None:
    """Counting from the end of all addresses comes to the same."""
    commands.do("get_free_pages a 0")
    assert commands.do(f"peek a {offset}") == commands.do("peek a -8")


def test_what_lies_beside(make_machine: Callable[..., Machine]) -> None:
    """An overrun in the linear mapping meets no guard: it reads, and writing is refused."""
    commands = Commands(make_machine(mem=2 * MIB))
    commands.do("get_free_pages g 0")
    commands.do("poke g 4095 7")
    before = bytes(commands._machine.ram.bytes)
    start = address(commands, "g")
    assert commands.do("peek g 4095 2").startswith(f"{start + 4095:x}: 07 ")
    for command in ("poke g 4096 1", "poke g 4095 1 2", "poke g -1 1"):
        with refused(Why.NOT_ITS_OWN):
            commands.do(command)
    assert bytes(commands._machine.ram.bytes) == before


@pytest.mark.parametrize("word", ["vmap", "vm_map_ram"])
@pytest.mark.parametrize("count", [5, 100])
def test_mapping(commands: Commands, word: str, count: int) -> None:
    """The frames of another, over again from the first; they stay while they are mapped."""
    commands.do("get_free_pages g 1")
    commands.do(f"{word} v {count} g")
    frames = commands.do("pfns g").split()
    assert commands.do("pfns v").split() == (frames * count)[:count]
    assert commands.do(f"pfns v {count + 1}").endswith(" -\n")
    commands.do("poke v 0 65")
    assert commands.do("peek g 0").endswith(": 41\n")
    assert commands.do("peek v 8192").endswith(": 41\n")
    with refused(Why.HANDLE_IN_USE):
        commands.do("free g")
    commands._machine.check()
    commands.do("free v")
    commands.do("free g")
    commands._machine.check()


def test_huge(commands: Commands) -> None:
    """Huge pages are whole ones, aligned, and so are their frames."""
    commands.do("vmalloc_huge a 2097153")
    handle = commands.handles.find("a")
    assert handle is not None
    assert handle.size == 4 * MIB
    assert handle.address % (2 * MIB) == 0
    frames = [*map(int, commands.do("pfns a 512").split())]
    assert frames == [*range(frames[0], frames[0] + 512)]


def test_kvmalloc(commands: Commands) -> None:
    """It is kmalloc's, or if that has none, an area."""
    commands.do("kvmalloc k 20480")
    commands.do("kvmalloc v 8388608")
    k, v = commands.handles.find("k"), commands.handles.find("v")
    assert k is not None
    assert v is not None
    assert (k.size, k.phys is None) == (32768, False)
    assert (v.size, v.phys is None) == (8 * MIB, True)
    assert commands._machine.vm.is_vmalloc_addr(v.address)


def test_vmap_of_an_area(commands: Commands) -> None:
    """The frames of an area, in its order."""
    commands.do("vmalloc a 12288")
    commands.do("vmap v 3 a")
    assert commands.do("pfns v") == commands.do("pfns a")


@pytest.mark.parametrize("command", ["kmalloc x 65536", f"ioremap x {DEVICE:#x} 8192"])
def test_vmap_of_what_has_no_frames(commands: Commands, command: str) -> None:
    """Objects of kmalloc and device memory have none to give, nor has a mapping."""
    commands.do(command)
    with refused(Why.INVALID):
        commands.do("vmap v 1 x")
    commands.do("vmalloc a 1")
    commands.do("vmap x2 1 a")
    with refused(Why.INVALID):
        commands.do("vmap v 1 x2")


NULLS = [
    *("vmalloc n 0", "vzalloc n 0", f"vmalloc n {1 << 40}", "vmalloc n 0xffffffffffffffff"),
    *("kmalloc n 4194305", "kmalloc n 18446744073709551615", "get_free_pages n 11", "gfp n 64"),
    *(
        "vmap n 0 g",
        "vmap n 100000 g",
        "vm_map_ram n 0 g",
        "ioremap n 0xfe000000 0",
        "ioremap n 0x1000 4096",
    ),
    *("ioremap n 0xffffffffffffffff 4096", "ioremap n 0xfe000000 0xffffffffffffffff"),
]


@pytest.mark.parametrize("command", NULLS)
def test_null(commands: Commands, command: str) -> None:
    """What the functions answer with NULL gives no handle, and takes nothing."""
    commands.do("gfp g 0")
    before = books(commands._machine)
    with refused(Why.NO_MEMORY):
        commands.do(command)
    assert commands.answer == "NULL\n"
    assert books(commands._machine) == before
    assert "n" not in commands.handles


@pytest.mark.parametrize(
    "command", ["vmalloc n 8388609", "vmap n 2049 g", "ioremap n 0xfe000000 0x801000"]
)
def test_too_large(commands: Commands, command: str) -> None:
    """What would be given and takes long is refused: nobody waits for one command."""
    commands.do("gfp g 0")
    with refused(Why.TOO_LARGE):
        commands.do(command)
    unbound = Commands(commands._machine)
    unbound.do("gfp g 0")
    unbound.do(command)


def test_out_of_memory(commands: Commands) -> None:
    """All of RAM can be taken, and the kernel log says who has had none."""
    with refused(Why.NO_MEMORY):
        for number in range(10):
            commands.do(f"vmalloc a{number} {MAX_BYTES}")
    said = [line for line in texts(commands._machine) if "failed to allocate pages" in line]
    assert len(said) == 1
    assert "swapper/0: vmalloc error: size " in said[0]
    commands._machine.check()
    for number in range(len(commands.handles)):
        commands.do(f"free a{number}")
    commands.do(f"vmalloc a {MAX_BYTES}")


def test_too_many(commands: Commands) -> None:
    """Their number has an end; what is freed makes room."""
    for number in range(MAX_HANDLES):
        commands.do(f"kmalloc k{number} 8")
    with refused(Why.TOO_MANY):
        commands.do("kmalloc k 8")
    commands.do("free k7")
    commands.do("kmalloc k 8")


def test_purge(commands: Commands) -> None:
    """Freed addresses are used again after it, and not before."""
    first = commands.do("vmalloc a 4096")
    commands.do("free a")
    assert commands.do("vmalloc a 4096") != first
    commands.do("free a")
    commands.do("purge")
    assert commands.do("vmalloc a 4096") == first


def test_settle(commands: Commands) -> None:
    """What waits in the workqueue is done."""
    done = []

    def work() -> Iterator[None]:
        done.append(True)
        yield from ()

    commands._machine.workqueue.queue_work(work())  # type: ignore[arg-type]
    assert commands.do("settle") == "ok\n"
    assert done


def test_sizes(commands: Commands) -> None:
    """The bytes that kmalloc gives for so many; nothing stays allocated."""
    before = commands._machine.slab.statistics().objects
    assert [commands.do(f"sizes {size}") for size in (1, 100, 8193, 4194304, 4194305)] == [
        *("8\n", "128\n", "16384\n", "4194304\n", "0\n")
    ]
    assert commands._machine.slab.statistics().objects == before


def test_walk(commands: Commands) -> None:
    """An entry a level; the guard page has an empty one, and an object is mapped like all else."""
    commands.do("vmalloc a 4096")
    commands.do("kmalloc k 8")
    mapped, guard = (commands.do(f"walk a{at}").splitlines() for at in ("", " 4096"))
    assert [line.split()[0] for line in mapped] == ["pgd", "pud", "pmd", "pte"]
    assert mapped[:3] == guard[:3]
    assert int(mapped[3].split()[1], 16) >> 12 & 0xFFFFFFFF == int(commands.do("pfns a"))
    assert guard[3] == "pte 0000000000000000"
    *_, last = commands.do("walk k").splitlines()
    assert int(last.split()[1], 16)


def test_buddy(commands: Commands) -> None:
    """A line for each zone, with the free blocks of each order."""
    name, *counts = commands.do("buddy").split()
    assert name == "Normal"
    assert sum(int(count) << order for order, count in enumerate(counts)) == (
        commands._machine.page_alloc.nr_free
    )


INVALID = [
    *("", " ", "vmallok a 1", "VMALLOC a 1", "vmalloc", "vmalloc a", "vmalloc a 1 2", "purge now"),
    *(
        "vmalloc a x",
        "vmalloc a -1",
        "vmalloc a 1k",
        "vmalloc a 08",
        "vmalloc a 0x",
        "vmalloc a 1.0",
    ),
    *("vmalloc a 18446744073709551616", "vmalloc a 0x10000000000000000", "vmalloc a +1"),
    *("vmalloc a/b 1", "vmalloc 'a' 1", "kmalloc a 1\nfree a", "kmalloc a 1\0", "kmalloc\ta 1"),
    *("vmalloc ä 1", "vmalloc a ٣", "gfp a 4294967296", "peek k", "peek k 0 0", "peek k 0 257"),
    *(
        "peek k 0 -1",
        "poke k 0",
        "poke k 0 256",
        "poke k 0 -1",
        "poke k 0 1 2 x",
        "pfns k 513",
        "walk",
        "walk k x",
    ),
    "kmalloc a " + "0" * MAX_LINE,
]


@pytest.mark.parametrize("command", INVALID)
def test_invalid(commands: Commands, command: str) -> None:
    """What is no command changes nothing, and the answer says why."""
    commands.do("kmalloc k 8")
    before = commands._machine.state()
    with refused(Why.INVALID):
        commands.do(command)
    assert commands.answer.endswith("\n")
    assert commands._machine.state() == before


def test_names(commands: Commands) -> None:
    """One in use is not given twice, one that is not there names nothing."""
    commands.do(f"kmalloc {'n' * MAX_NAME} 8")
    with refused(Why.NAME_TOO_LONG):
        commands.do(f"kmalloc {'n' * (MAX_NAME + 1)} 8")
    with refused(Why.NAME_IN_USE):
        commands.do(f"vmalloc {'n' * MAX_NAME} 8")
    for command in ("free", "peek {} 0", "poke {} 0 1", "pfns {}", "vmap v 1"):
        with refused(Why.NO_HANDLE):
            commands.do(command.format("m") if "{" in command else f"{command} m")


def test_usage(commands: Commands) -> None:
    """Who gives too few arguments is told all of them."""
    with refused(Why.INVALID):
        commands.do("poke k 0")
    assert commands.answer == "usage: poke HANDLE OFFSET BYTE...\n"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("peek k 0 0", "COUNT: 0 is not from 1 to 256; usage: peek HANDLE OFFSET [COUNT]\n"),
        ("peek k 0 257", "COUNT: 257 is not from 1 to 256; usage: peek HANDLE OFFSET [COUNT]\n"),
        ("pfns k 513", "COUNT: 513 is not from 1 to 512; usage: pfns HANDLE [COUNT]\n"),
        ("kfree\tk", "a command is one line of printable ASCII, 255 characters at the most\n"),
    ],
)
def test_answer_says_what_is_possible(commands: Commands, command: str, answer: str) -> None:
    """The same range below it and above, and what about a line may be wrong but its length."""
    commands.do("kmalloc k 8")
    with refused(Why.INVALID):
        commands.do(command)
    assert commands.answer == answer


words = st.sampled_from([*USAGE, "a", "b", "c", "0", "1", "-1", "4096", "0xfe000000", "70000", ""])


@settings(max_examples=rounds(30, 10))
@given(st.lists(st.lists(words, max_size=4).map(" ".join), max_size=20))
def test_any_commands(lines: list[str]) -> None:
    """Whatever is asked for, it is done or refused, and the books add up."""
    machine = Machine(mem=2 * MIB)
    commands = Commands(machine)
    for line in lines:
        try:
            answer = commands.do(line)
        except Refused as error:
            answer = f"{error}\n"
        assert commands.answer == answer
    machine.check()
    machine.close()


def test_repeatable() -> None:
    """The same commands give the same answers."""
    script = [*ALLOCATIONS.values(), "free a", "pfns a", "peek a 0 16", "purge", "buddy"]
    answers = []
    for _ in range(2):
        machine = Machine(mem=4 * MIB)
        commands = Commands(machine)
        answers.append([_answer(commands, line) for line in script])
    assert answers[0] == answers[1]


def _answer(commands: Commands, line: str) -> str:
    try:
        return commands.do(line)
    except Refused as error:
        return str(error)


def test_bound() -> None:
    """The bound is whole pages."""
    assert MAX_BYTES % PAGE_SIZE == 0
