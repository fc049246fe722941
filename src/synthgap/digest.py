"""A digest of the code that a command uses, so that changing it reruns what it shaped.

Computed from the parsed syntax: comments, docstrings, blank lines and formatting do not enter.
Imports are followed wherever they stand, inside functions too, but only within `synthgap`; what a
command imports by a computed name (a view's module, say) is named to `code_digest` by the rule.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
SCRIPTS = PACKAGE.parents[1] / "workflow" / "scripts"

# They shape messages, or when and where a job runs, and not results.
IGNORED = {
    "synthgap",
    "synthgap.captioners.batch_endpoint",
    "synthgap.captioners.batches",
    "synthgap.captioners.cache",
    "synthgap.captioners.pace",
    "synthgap.captioners.service",
    "synthgap.devices",
    "synthgap.errors",
    "synthgap.job",
    "synthgap.progress",
    "synthgap.stopping",
}


def code_digest(command: str, *modules: str) -> str:
    """Return 12 hex digits for `workflow/scripts/<command>.py` and all of synthgap it uses."""
    script = SCRIPTS / f"{command}.py"
    names = {*modules, *_imports(script)}
    seen: set[str] = set()
    while names := names - seen:
        seen |= names
        names = {name for known in names - IGNORED for name in _imports(_module_path(known))}
    paths = [script, *(_module_path(name) for name in sorted(seen - IGNORED))]
    # What lies beside the code of a package that is used, a template say, is part of it.
    folders = [path.parent for path in paths if path.name == "__init__.py"]
    data = [f for folder in folders for f in sorted(folder.glob("*.*")) if f.suffix != ".py"]
    digests = "".join([*map(_syntax_digest, paths), *map(_content_digest, data)])
    return hashlib.sha256(digests.encode()).hexdigest()[:12]


def whole_digest() -> str:
    """Return 12 hex digits for all of synthgap and all commands."""
    digests = map(_syntax_digest, sorted([*PACKAGE.rglob("*.py"), *SCRIPTS.glob("*.py")]))
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]


@cache
def _module_path(name: str) -> Path:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


@cache
def _imports(path: Path) -> frozenset[str]:
    """Return the synthgap modules that a file imports, packages above them included."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            # `from package import module` names a module; `from module import name` does not.
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in submodules if _is_module(name)}
    found = {name for name in found if name.split(".")[0] == "synthgap"}
    parents = {
        ".".join(name.split(".")[:n]) for name in found for n in range(1, name.count(".") + 1)
    }
    return frozenset(found | parents)


def _is_module(name: str) -> bool:
    return name.split(".")[0] == "synthgap" and _module_path(name).exists()


@cache
def _content_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _syntax_digest(path: Path) -> str:
    tree = _tree(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()
