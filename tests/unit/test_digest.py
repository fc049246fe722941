"""The code digest: what changes it and what does not."""

import pytest

from synthgap import digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small synthgap: a command uses `a`, which uses `b.c` inside a function."""
    root, scripts = tmp_path / "synthgap", tmp_path / "scripts"
    for folder in (root, root / "b", root / "plug", scripts):
        folder.mkdir()
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text("def f():\n    from synthgap.b import c\n    return c.X\n")
    (root / "b" / "__init__.py").write_text("")
    (root / "b" / "c.py").write_text('"""Doc."""\nX = 1\n')
    (root / "plug" / "__init__.py").write_text("")
    (root / "plug" / "d.py").write_text("Y = 1\n")
    (root / "unused.py").write_text("Z = 1\n")
    (scripts / "do_it.py").write_text("from synthgap.a import f\nf()\n")
    monkeypatch.setattr(digest, "PACKAGE", root)
    monkeypatch.setattr(digest, "SCRIPTS", scripts)
    forget()
    yield tmp_path
    forget()


def forget():
    for cached in (digest._module_path, digest._tree, digest._imports, digest._syntax_digest):
        cached.cache_clear()


def digest_after(path, text, *modules):
    path.write_text(text)
    forget()
    return digest.code_digest("do_it", *modules)


def test_code_of_what_is_imported_matters(package):
    before = digest.code_digest("do_it")
    root = package / "synthgap"
    assert digest_after(root / "b" / "c.py", "X = 2\n") != before
    assert digest_after(root / "b" / "c.py", "X = 1\n") == before
    assert digest_after(root / "b" / "__init__.py", "import os\n") != before
    assert digest_after(root / "b" / "__init__.py", "") == before
    assert digest_after(package / "scripts" / "do_it.py", "from synthgap.a import f\n") != before


def test_comments_docstrings_and_format_do_not_matter(package):
    before = digest.code_digest("do_it")
    changed = '"""Another."""\n\n# Why.\nX = (\n    1\n)\n'
    assert digest_after(package / "synthgap" / "b" / "c.py", changed) == before


def test_unused_modules_do_not_matter_and_named_ones_do(package):
    before = digest.code_digest("do_it")
    assert digest_after(package / "synthgap" / "unused.py", "Z = 2\n") == before
    named = digest.code_digest("do_it", "synthgap.plug.d")
    assert named != before
    assert digest_after(package / "synthgap" / "plug" / "d.py", "Y = 2\n") == before
    assert digest.code_digest("do_it", "synthgap.plug.d") != named


def test_every_command_of_the_project_has_a_digest():
    commands = sorted(path.stem for path in digest.SCRIPTS.glob("*.py"))
    digests = {command: digest.code_digest(command) for command in commands}
    assert len(set(digests.values())) == len(commands) > 15
