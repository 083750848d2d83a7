"""The README's Python blocks run, in order, in one namespace; its commands name things that exist."""

import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_every_python_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    assert len(blocks("python")) >= 4
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), namespace)
    assert namespace["score"].legal


def test_every_script_and_option_named_exists():
    lines = [line for block in blocks("sh") for line in block.split("\n")]
    named = [shlex.split(line, comments=True) for line in lines if "scripts." in line]
    assert len(named) >= 4
    for words in named:
        script = README.parent / (words[2].replace(".", "/") + ".py")
        assert script.exists(), script
        source = script.read_text() + (README.parent / "agents/config.py").read_text()
        for option in [word[2:].replace("-", "_") for word in words if word.startswith("--")]:
            assert re.search(rf"^    {option}:", source, re.MULTILINE), option


def test_every_make_target_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (README.parent / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)\b", TEXT))
    assert named
    assert named <= targets


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http)[^)]+)\)", TEXT))
def test_every_link_leads_somewhere(link):
    assert (README.parent / link).exists()
