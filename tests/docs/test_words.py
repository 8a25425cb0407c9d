"""What documents say is there: pages, files, commands, options, variables, targets. And that they are short."""

import functools
import json
import re
import subprocess

import pytest
from pages import ALL, BIN_DIR, CONTRIBUTING, PAGES, README, ROOT, blocks, name, parts

PROGRAMS = ("taskfault", "taskfault-local")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")
# Options of other programs that prose names: the AWS CLI's, Docker's, Compose's, git's, iptables', ours of scripts/bench.
FOREIGN = {"--cli-input-json", "--target", "--full", "--gid-owner"}
# What a document may call by a path that a build or a run makes.
MADE = ("target/", "out/", "taskfault-report/")


def test_readme_is_short():
    words = README.read_text().split()
    assert len(words) <= 1200, f"{len(words)} words"


@pytest.mark.parametrize("page", ALL, ids=name)
def test_no_line_of_prose_is_long(page):
    long = [number for number, line in parts(page)[0] if len(line) > 300 and not line.startswith("|")]
    assert not long, f"more than 300 characters in the lines {long}"


@pytest.mark.parametrize("page", ALL, ids=name)
def test_links_lead_to_files(page):
    for number, line in parts(page)[0]:
        for target in LINK.findall(line):
            path = target.partition("#")[0]
            if path and "://" not in path:
                assert (page.parent / path).exists(), f"{name(page)}:{number}: {target}"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES)


def test_pictures_are_small():
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 200_000, picture


@pytest.mark.parametrize("page", ALL, ids=name)
def test_paths_that_are_named_exist(page):
    folders = "|".join(sorted(entry.name for entry in ROOT.iterdir() if entry.is_dir() and entry.name != "target"))
    wanted = re.compile(rf"(?:{re.escape('./')})?((?:{folders}|crates)/[\w./-]+)")
    for number, line in parts(page)[0]:
        for code in CODE.findall(line):
            found = wanted.fullmatch(code)
            if found and not code.startswith(MADE):
                assert (ROOT / found[1]).exists(), f"{name(page)}:{number}: there is no {code}"


@functools.cache
def help_of(*command):
    """The help of a program or of one of its commands; None if there is no such command."""
    done = subprocess.run([BIN_DIR / command[0], *command[1:], "--help"], capture_output=True, text=True, timeout=20)
    return done.stdout if done.returncode == 0 else None


def commands_below(*command):
    below = (help_of(*command) or "").partition("\nCommands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  (?!help )([a-z][a-z-]*)(?:  |$)", below, re.MULTILINE)


def everything(*command):
    """The help texts of a program and of all its commands, as one."""
    return "\n".join([help_of(*command), *(everything(*command, below) for below in commands_below(*command))])


def calls(text):
    """The calls of our programs in a text of shell commands: the words of each, as they stand."""
    for line in text.replace("\\\n", " ").splitlines():
        for command in re.split(r"[|;&]+|\$\(", line.partition(" #")[0]):
            words = [word for word in command.split() if not re.fullmatch(r"\w+=\S*", word)]
            if words and re.fullmatch(r"(?:\S*/)?(taskfault|taskfault-local)", words[0]):
                yield [words[0].rpartition("/")[2], *words[1:]]


def check_call(words, where):
    """Fails unless the program has the command and the options of a call."""
    command = [words[0]]
    for word in words[1:]:
        if word not in commands_below(*command):
            break
        command.append(word)
    rest = words[len(command) :]
    if commands_below(*command) and rest and re.fullmatch("[a-z-]+", rest[0]) and not rest[0].startswith("-"):
        pytest.fail(f"{where}: {' '.join(command)} has no command {rest[0]}")
    for option in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", " ".join(rest)):
        assert has_option(option, help_of(*command)), f"{where}: {' '.join(command)} has no option {option}"


def has_option(option, text):
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


@pytest.mark.parametrize("page", ALL, ids=name)
def test_commands_and_options_that_are_named_exist(page):
    prose, _ = parts(page)
    for block in blocks(page, "sh", "dockerfile"):
        for words in calls(block.text):
            check_call(words, f"{name(page)}:{block.line}")
    all_help = "\n".join(everything(program) for program in PROGRAMS)
    for number, line in prose:
        for code in CODE.findall(line):
            for words in calls(code):
                check_call(words, f"{name(page)}:{number}")
            option = re.match(r"--[a-z][a-z0-9-]*", code)
            if option and option[0] not in FOREIGN:
                assert has_option(option[0], all_help), f"{name(page)}:{number}: no program has {option[0]}"


def variables_of_the_programs():
    """Those that their sources name as a text, but for what they are told when they are built."""
    sources = [*(ROOT / "src").rglob("*.rs"), *(ROOT / "crates").rglob("*.rs")]
    return {found for source in sources for found in re.findall(r'(?<!option_env!\()"(TASKFAULT_[A-Z_]+)"', source.read_text())}


def test_variables_that_are_named_exist_and_all_are_explained():
    programs = variables_of_the_programs()
    compose = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "deploy" / "compose" / "compose.yaml").read_text()))
    for page in ALL:
        named = set(re.findall(r"\bTASKFAULT_[A-Z_]*[A-Z]\b", page.read_text()))
        assert named <= programs | compose, name(page)
    explained = (ROOT / "docs" / "reference" / "environment.md").read_text()
    assert [it for it in sorted(programs) if f"`{it}`" not in explained] == []


@pytest.mark.parametrize("page", ALL, ids=name)
def test_targets_of_make_that_are_named_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    prose, _ = parts(page)
    texts = [block.text for block in blocks(page, "sh")] + [code for _, line in prose for code in CODE.findall(line)]
    named = {target for text in texts for target in re.findall(r"^make ([a-z0-9-]+)", text, re.MULTILINE)}
    assert named <= targets, name(page)


def test_every_fault_has_its_row():
    listed = subprocess.run([BIN_DIR / "taskfault", "faults", "--json"], capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "reference" / "faults.md").read_text()
    for fault in json.loads(listed.stdout)["faults"]:
        assert f"`{fault['name']}`" in page, fault["name"]


def test_every_command_has_its_row():
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    for program in PROGRAMS:
        for command in commands_below(program):
            assert f"`{program} {command}" in page, f"{program} {command}"


def test_parts_of_the_tests_are_told_to_contributors():
    parts_of_the_tests = re.search(r"^readonly ALL=\((.*)\)", (ROOT / "scripts" / "test").read_text(), re.MULTILINE)
    table = CONTRIBUTING.read_text()
    for part in parts_of_the_tests[1].split():
        assert f"`{part}`" in table, part
