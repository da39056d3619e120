"""The commands in docs/ and README exist, take the options shown, and links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from desdis_match.commands.cli import COMMANDS
from desdis_match.commands.cli import main as cli

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted((ROOT / "docs").glob("*.md"))]


def shown_commands():
    """Every `desdis-match COMMAND ...` in a block or in backticks: page and arguments."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        lines = [
            line for block in re.findall(r"```(?:bash)?\n(.*?)```", text, re.S) for line in block.split("\n")
        ]
        lines += [
            code.replace("\n", " ")
            for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
        ]
        for line in lines:
            for part in re.split(r"&&|\|", line):
                if not re.match(r"\s*(desdis-match|python -m desdis_match)", part):
                    continue
                words = shlex.split(part, comments=True)
                if words[:2] == ["python", "-m"] and words[2].startswith("desdis_match."):
                    yield page.name, [words[2].removeprefix("desdis_match."), *words[3:]]
                elif words[:1] == ["desdis-match"] and len(words) > 1:
                    yield page.name, words[1:]


@pytest.fixture(scope="module")
def help_of():
    """The help text of a command with its sub-command, each asked for once."""
    texts = {}

    def ask(words, capsys):
        key = tuple(words)
        if key not in texts:
            try:
                assert cli([*words, "--help"]) == 0
            except SystemExit as stop:
                assert stop.code == 0
            texts[key] = capsys.readouterr().out
        return texts[key]

    return ask


def test_commands_and_options_exist(help_of, capsys):
    shown = list(shown_commands())
    assert len(shown) > 15
    for page, words in shown:
        if words[0].startswith("--"):
            continue
        assert words[0] in COMMANDS, f"{page}: {words[0]}"
        grouped = words[0] in ("evaluate", "train", "merge-shards")
        depth = 2 if grouped and len(words) > 1 and words[1].islower() else 1
        text = help_of(words[:depth], capsys)
        for flag in (word.split("=")[0] for word in words[depth:] if re.match(r"--[a-z]", word)):
            assert flag == "--help" or re.search(rf"{re.escape(flag)}\b", text), f"{page}: {words[0]} {flag}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [p for p in PAGES if p.name == "getting-started.md"], ids=lambda p: p.name)
def test_options_named_in_the_text_exist(page, help_of, capsys):
    """`--option` on its own in the pages about choosing and troubles is an option of some command."""
    known = " ".join(help_of([name], capsys) for name in ("reconstruct", "view", "localize", "map", "match"))
    for other in (page.parent / "choosing.md", page.parent / "troubleshooting.md"):
        for flag in re.findall(r"`(--[a-z-]+)[ `]", other.read_text()):
            assert re.search(rf"{re.escape(flag)}\b", known), f"{other.name}: {flag}"


def test_the_index_leads_to_every_page():
    text = (ROOT / "docs" / "index.md").read_text()
    linked = set(re.findall(r"\]\((?:\.\./)?([A-Za-z-]+\.md)\)", text))
    pages = {page.name for page in PAGES} - {"README.md", "index.md"}
    assert pages <= linked


def test_the_index_and_the_contributors_page_name_what_there_is():
    package = ROOT / "desdis_match"
    families = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    table = re.findall(r"^\|[^|]*\|(.*)\|$", (ROOT / "docs" / "index.md").read_text(), re.M)
    assert families <= set(re.findall(r"`(\w+)`", " ".join(table)))
    rows = re.findall(
        r"^\| [^|]+ \| (?:a file of )?`([^`]+)` \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    assert len(rows) > 5
    for place, names in rows:
        path = package / place / "__init__.py" if place.endswith("/") else package / place
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^(def )?{name}\b", path.read_text(), re.M), f"{name} is not in {place}"
