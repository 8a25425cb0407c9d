"""The commands of the first pages, as they stand, for real.

A page is walked from its first `sh` block to its last, in the terminals that the blocks' titles name. A block whose
title says `keeps running` is not waited for; Ctrl-C ends it after the last block. The `text` block behind a block is
what it prints (see `terminals.missing`); a block whose title says `again` is a question that is asked until it does.
"""

import os
import re
import time

import pytest
from pages import README, ROOT, blocks, name, parts
from terminals import TIMEOUT, Desk, NoNamespaces, missing, wait

GUIDES = [
    "tutorial.md",
    "how-to/ci-gate.md",
    "how-to/commands-by-hand.md",
    "how-to/infrastructure-as-code.md",
    "how-to/inject.md",
]  # fmt: skip
WALKED = [README, *(ROOT / "docs" / page for page in GUIDES)]
# The title of a block that is not run says what it needs, which no test has.
NOT_RUN = ("Needs an AWS account", "Needs a task", "Needs the stock agent", "Needs Docker Compose", "Your machine")


@pytest.fixture
def desk(tmp_path):
    try:
        desk = Desk(tmp_path)
    except NoNamespaces as refusal:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"user namespaces are refused here: {refusal}")
    yield desk
    desk.close()


@pytest.mark.parametrize("page", WALKED, ids=name)
def test_the_commands_of_a_page_do_what_it_says(page, desk):
    running, asked, last = None, None, None
    for block in blocks(page, "sh", "text"):
        where = f"{name(page)}:{block.line}"
        if block.title.startswith(NOT_RUN):
            running, last = None, None
        elif block.language == "sh":
            running, last = walk(desk, block, where)
            asked = block
        elif running:
            wait(lambda: not missing(block.text, running.output()), lambda: context(block, where, running.output()))
        elif last is not None:
            end = time.monotonic() + TIMEOUT
            while "again" in asked.title and missing(block.text, last) and time.monotonic() < end:
                _, last = walk(desk, asked, where)
            assert not missing(block.text, last), context(block, where, last)


def walk(desk, block, where):
    """Types the commands of one block: the terminal in which they go on, or what they have printed."""
    terminal = desk.terminal(block.title.partition(",")[0])
    print(f"--- {where} {block.title}\n{block.text}", end="")
    if "keeps running" in block.title:
        terminal.type(block.text)
        return terminal, None
    output, failed = terminal.run(block.text)
    print(output, end="")
    assert failed == 0, f"{where}: exit code {failed}:\n{output}"
    return None, output


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "how-to").glob("*.md")), ids=name)
def test_a_command_that_is_not_run_says_what_it_needs(page):
    if page not in WALKED:
        untold = [block.line for block in blocks(page, "sh") if not block.title.startswith(NOT_RUN)]
        assert not untold, f"walk the page, or give the blocks in the lines {untold} a title of {NOT_RUN}"


def context(block, where, output):
    return f"{where}: not printed: {missing(block.text, output)}\nIt printed:\n{output}"


@pytest.mark.parametrize("page", WALKED, ids=name)
def test_a_page_names_its_terminals(page):
    """Where a command goes on for ever, a reader is told to open another terminal."""
    titles = [block.title for block in blocks(page, "sh")]
    running = [title.partition(",")[0] for title in titles if "keeps running" in title]
    prose = " ".join(line for _, line in parts(page)[0]).lower()
    for terminal in running:
        assert terminal and terminal.lower() in prose, terminal
        assert any(title and not title.startswith(terminal) for title in titles)


@pytest.mark.parametrize(
    ("expected", "printed", "lacks"),
    [
        ("a 5 ms", "noise\n  a 17.5 ms\n", None),
        ("task 0a1b2c3d started", "task 99999999 started", None),
        ("EXPabcdefghijk completed", "EXPZZZZZZZZZZZ completed", None),
        ("made … of it", "made anything of it", None),
        ("first\nsecond", "second\nfirst", "second"),
        ("a.b", "axb", "a.b"),
    ],
)
def test_output_is_compared_but_for_numbers_and_ids(expected, printed, lacks):
    assert missing(expected, printed) == lacks


def test_make_of_the_walk_refuses_a_target_that_there_is_not(desk):
    terminal = desk.terminal("")
    assert terminal.run("make build")[1] == 0
    assert re.search("no target nonsense", terminal.run("make nonsense")[0])
