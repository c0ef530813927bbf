"""Shell completion: what may come next on a command line, and the scripts that ask for it.

click's mechanism: the shell's script runs `scullvfs` with `_SCULLVFS_COMPLETE=bash_complete`
and the line so far in `COMP_WORDS`, and gets one line for each word that fits (for zsh two).
The scripts here differ from click's in what mount options need. In all three shells a word
may contain commas, and no blank follows one that ends in `=`. In bash, which splits words at
`=` and `:` before anybody is asked, the words are put together again, and answers begin where
bash believes the word to begin.

The words themselves come from `candidates`, and from click.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from .commands import COMPLETE_VAR
from .help import Command

__all__ = ["SHELLS", "completion"]

BASH: Final = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("$value")
                [[ $value != *= ]] || compopt -o nospace ;;
        esac
    done < <(env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

ZSH: Final = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a answer closed open
    local type entry
    answer=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete "${words[1]}" 2>/dev/null)}")
    for type entry in $answer; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain) closed+=("$entry") ;;
            open) open+=("$entry") ;;
        esac
    done
    (( $#closed )) && _describe -V unsorted closed -U
    (( $#open )) && _describe -V unsorted open -U -S ''
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

FISH: Final = """\
function %(complete_func)s
    set -l command (commandline -opc)
    for line in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp | string collect) \\
            COMP_CWORD=(commandline -ct | string collect) $command[1] 2>/dev/null)
        set -l answer (string split -m 1 , -- $line)
        switch $answer[1]
            case dir
                __fish_complete_directories $answer[2]
            case file
                __fish_complete_path $answer[2]
            case plain
                printf '%%s\\n' $answer[2]
        end
    end
end

complete --no-files --keep-order --command %(prog_name)s --arguments '(%(complete_func)s)'
"""


@add_completion_class
class Bash(BashComplete):
    """Knows of the line up to the cursor only, not of the words that bash has made of it."""

    source_template = BASH

    @staticmethod
    def _check_version() -> None:
        """Scripts are also made where there is no bash to ask for its version."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the last one, and the last one, which may be empty."""
        line = os.environ["COMP_WORDS"]
        *args, last = split_arg_string(line + "x")  # behind a blank this is a word of its own
        return args[1:], last[:-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """`plain,` and what bash is to put in the place of what it takes for the last word."""
        if item.type != "plain":
            return f"{item.type},"
        _, incomplete = self.get_completion_args()
        line = os.environ["COMP_WORDS"]
        value: str = item.value
        if line.endswith("'" + incomplete):  # within quotes nothing is split
            return "plain," + value.replace("'", r"'\''")
        if line.endswith('"' + incomplete):
            return "plain," + re.sub(r'([$`"\\])', r"\\\1", value)
        breaks = set("=:@") & set(os.environ.get("COMP_WORDBREAKS", "=:@"))
        begin = 1 + max((incomplete.rfind(character) for character in breaks), default=-1)
        return f"plain,{_escaped(value[begin:])}"


@add_completion_class
class Zsh(ZshComplete):
    """Two lines an answer: its type, and `value:help`."""

    source_template = ZSH

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Type `open` stands for a word that goes on."""
        kind = "open" if item.type == "plain" and item.value.endswith("=") else item.type
        value = item.value.replace("\\", "\\\\").replace(":", "\\:")
        return f"{kind}\n{value}" + (f":{item.help}" if item.help else "")


@add_completion_class
class Fish(FishComplete):
    """As click's, but for the script."""

    source_template = FISH


SHELLS: Final = {shell.name: shell for shell in (Bash, Zsh, Fish)}


def _escaped(word: str) -> str:
    """`word` as it is typed at a prompt."""
    return re.sub(r"([^\w@%+=:,./~-])", r"\\\1", word)


@click.command(
    cls=Command,
    examples=[
        ('eval "$(scullvfs completion bash)"', "In ~/.bashrc; zsh has the same in ~/.zshrc."),
        (
            "scullvfs completion fish >~/.config/fish/completions/scullvfs.fish",
            "For fish, which reads that file when it first needs it.",
        ),
    ],
)
@click.argument("shell", metavar="SHELL", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print a script that makes SHELL complete words.

    SHELL, which is bash (4.4 or later), zsh or fish, then completes at TAB the commands of
    scullvfs and what follows them: options, mount options behind -o with their values, and
    mount points.
    """
    root = click.get_current_context().find_root()
    assert root.info_name is not None
    click.echo(SHELLS[shell](root.command, {}, "scullvfs", COMPLETE_VAR).source(), nl=False)
