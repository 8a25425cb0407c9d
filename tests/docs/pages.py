"""The documents as data: their files, and the fenced blocks in them."""

import dataclasses
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN_DIR = Path(os.environ.get("TASKFAULT_BIN_DIR", ROOT / "target" / "debug")).resolve()
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
OTHERS = [ROOT / "deploy" / "compose" / "README.md", ROOT / "deploy" / "iam" / "README.md"]
# What is written for users and contributors.
ALL = [README, CONTRIBUTING, *PAGES, *OTHERS]

FENCE = re.compile(r"^( *)```+ *(\S*) *(.*)$")


@dataclasses.dataclass
class Block:
    """A fenced block: its language, its title, the text in it, and the line that it begins in."""

    language: str
    title: str
    text: str
    line: int


def name(page):
    """How a page is called in messages: its path in the repository."""
    return str(page.relative_to(ROOT))


def parts(page):
    """The lines of prose, each with its number, and the fenced blocks of a page."""
    prose, blocks, block = [], [], None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if fence and block is None:
            title = re.search(r'title="([^"]*)"', fence[3])
            block = Block(fence[2], title[1] if title else "", "", number)
            indent = len(fence[1])
        elif fence and not fence[2]:
            blocks.append(block)
            block = None
        elif block is not None:
            block.text += line[indent:] + "\n"
        else:
            prose.append((number, line))
    assert block is None, f"{name(page)}:{block and block.line}: a fence without an end"
    return prose, blocks


def blocks(page, *languages):
    """The fenced blocks of a page in these languages."""
    return [block for block in parts(page)[1] if block.language in languages]
