"""What the programs say of themselves, put into the documents; a hook of MkDocs, see mkdocs.yml.

A page asks for it with a comment on a line of its own:

    <!-- faults -->                    a section for each fault, from `taskfault faults --json`
    <!-- help PROGRAM -->              the help of a program and of all its commands
    <!-- file PATH -->                 a file of the repository: Markdown as it is, all else as a block of code

Where a page is read without being built, its own words say where to look instead.
"""

import json
import os
import re
import subprocess
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# So many characters fit into a block beside the navigation.
WIDTH = 78
MARKER = re.compile(r"^<!-- (faults|help|file)(?: (\S+))? -->$", re.MULTILINE)


def on_page_markdown(markdown, **_):
    """The page with every comment replaced. MkDocs calls this for each page."""
    return MARKER.sub(lambda found: FILLINGS[found[1]](found[2]), markdown)


def program(name):
    """The path of one of the two programs."""
    return (ROOT / os.environ.get("TASKFAULT_BIN_DIR", "target/debug") / name).resolve()


def said(name, *arguments):
    """What a program prints when it is called with these arguments."""
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


def faults(_):
    """A section for each fault of the registry."""
    return "\n".join(fault(one) for one in json.loads(said("taskfault", "faults", "--json"))["faults"])


def fault(one):
    lines = [f"## {one['name']}", "", sentence(one["summary"]), ""]
    if one.get("documents"):
        lines += ["Documents: " + ", ".join(f"`{name}`" for name in one["documents"]) + ".", ""]
    lines += ["| option | in FIS | in the document | default | values | meaning |", "|---|---|---|---|---|---|"]
    lines += [parameter(it) for it in one["parameters"]]
    return "\n".join(lines) + "\n"


def parameter(it):
    default = "required" if it["default"] is None else f"`{it['default']}`"
    values = f"{it['range']} {it['unit']}".strip()
    fis, document = (f"`{it[name]}`" if it[name] else "" for name in ("fis", "document"))
    cells = [f"`--{it['option']}`", fis, document, default, values, sentence(it["description"])]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def sentence(words):
    """With a capital and a full stop, however it is written in the program."""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def help_of(name):
    """The help of a program and of its commands, each under a heading."""
    return "\n".join(sections(name, []))


def sections(name, command):
    text = said(name, *command, "--help")
    mark = "#" * (2 + min(len(command), 2))
    shown = "\n".join(folded(line) for line in text.rstrip().splitlines())
    yield f"{mark} {' '.join([name, *command])}\n\n```text\n{shown}\n```\n"
    for below in commands_in(text):
        yield from sections(name, [*command, below])


def folded(line):
    """A long description of a command or an option in several lines. Commands to be copied stay as they are."""
    described = re.match(r" +\S.*? {2,}| {6,}", line)
    if len(line) <= WIDTH or not described:
        return line
    return "\n".join(textwrap.wrap(line, WIDTH, subsequent_indent=" " * described.end()))


def commands_in(text):
    """The names below `Commands:` in a help text."""
    _, _, below = text.partition("\nCommands:\n")
    below = below.partition("\n\n")[0] if below else ""
    return re.findall(r"^  (?!help )([a-z][a-z-]*)(?:  |$)", below, re.MULTILINE)


def file(path):
    """A file of the repository. The heading of a Markdown file is the page's own."""
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return re.sub(r"\A# .*\n+", "", text)
    return f"```{Path(path).suffix.lstrip('.')}\n{text.rstrip()}\n```"


FILLINGS = {"faults": faults, "help": help_of, "file": file}
