"""The parameters of the module test_vmalloc, and how they are written behind insmod.

Each TAB comes through here, so what reads a value is imported when there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from scullvfs.errors import UsageError
from scullvfs.options.hint import did_you_mean
from scullvfs.text import mangled

__all__ = ["ABOUT", "NAMES", "SWITCHES", "Parameters", "parse_parameters"]

INT_MAX: Final = (1 << 31) - 1
USHRT_MAX: Final = (1 << 16) - 1

NAMES: Final = (
    "fix_size_alloc_test",
    "full_fit_alloc_test",
    "long_busy_list_alloc_test",
    "random_size_alloc_test",
    "fix_align_alloc_test",
    "random_size_align_alloc_test",
    "align_shift_alloc_test",
    "pcpu_alloc_test",
    "kvfree_rcu_1_arg_vmalloc_test",
    "kvfree_rcu_2_arg_vmalloc_test",
    "vm_map_ram_test",
)
"""The scenarios: that with place n is run where bit n of run_test_mask is set."""


class Parameters(NamedTuple):
    """What the module is loaded with; the defaults are Linux's."""

    run_test_mask: int = INT_MAX
    nr_threads: int = 0
    test_loop_count: int = 1_000_000
    test_repeat_count: int = 1
    nr_pages: int = 0
    use_huge: bool = False
    sequential_test_order: bool = False

    def as_run(self) -> Parameters:
        """With the counts that the module makes of these: there is one of each at least.

        Linux: lib/test_vmalloc.c:init_test_configurtion()
        """
        return self._replace(
            nr_threads=min(max(self.nr_threads, 1), USHRT_MAX),
            test_loop_count=max(self.test_loop_count, 1),
            test_repeat_count=max(self.test_repeat_count, 1),
        )


ABOUT: Final = {
    "run_test_mask": "the sum of the numbers below; all by default",
    "nr_threads": "workers that run them all, in turns; 1 to 65535",
    "test_loop_count": "how often each allocates; a million by default",
    "test_repeat_count": "how often each is run; 1 by default",
    "nr_pages": "pages of the first and the last one; 1 by default",
    "use_huge": "have fix_size_alloc_test ask for huge pages",
    "sequential_test_order": "run them in this order, not in a random one",
}
"""Parameter -> what it is for, in a few words."""
SWITCHES: Final = ("use_huge", "sequential_test_order")
"""Those that are booleans; the others are numbers."""


def parse_parameters(words: Iterable[str]) -> Parameters:
    """Read `NAME=VALUE` words; of one name the last counts, and `-` in it is as good as `_`.

    Raises:
        UsageError: no parameter of that name, where the kernel would leave it out; or a value that
            it cannot have, which the kernel refuses, too.

    Linux: kernel/params.c:parse_args()
    """
    given: dict[str, int | bool] = {}
    for word in " ".join(words).split():
        written, equals, text = word.partition("=")
        name = written.replace("-", "_")
        if name not in ABOUT:
            hint = did_you_mean(name, ABOUT) or "; 'scullvfs test-vmalloc --help' lists them all"
            raise UsageError(f"test_vmalloc: unknown parameter '{mangled(written)}'{hint}")
        value = _value(name, text if equals else None)
        if value is None:
            expects = "0 or 1" if name in SWITCHES else f"a number from {-INT_MAX - 1} to {INT_MAX}"
            raise UsageError(
                f"test_vmalloc: '{mangled(text)}' invalid for parameter '{name}'; "
                f"it must be {expects}"
            )
        given[name] = value
    return Parameters()._replace(**given)  # type: ignore[arg-type]


def _value(name: str, text: str | None) -> int | bool | None:
    """The value of a text, None if it has none; a switch without a text is on.

    Linux: kernel/params.c:param_set_bool(), param_set_int()
    """
    from scullvfs.fs.kstrtox import kstrtobool_from_user, kstrtoint

    if name in SWITCHES:
        return True if text is None else kstrtobool_from_user(os.fsencode(text))
    try:
        return kstrtoint(os.fsencode(text or ""))
    except OSError:
        return None
