"""Pages of the site that lie outside docs/, and links that hold on a code host and in the site.

README.md is the first page, and the other texts of `PAGES` are pages as they are: there is no
second copy of them. Any other file of the repository that a page links becomes a listing. Links are
written for the repository, where people and code hosts read the files, and turned here.
"""

import posixpath
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "config/README.md": "configuration.md",
}
LISTINGS = "files/"

_LINK = re.compile(r"(\]\()([^()\s]+)(\))")
_FENCE = re.compile(r"^\s*(```|~~~)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name anchors as GitHub does, so that one link serves both."""
    config.mdx_configs["toc"]["slugify"] = slug
    return config


def slug(heading: str, separator: str = "-") -> str:
    """The anchor of a heading: letters, digits, `_` and `-`, with `-` for each blank."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", separator)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are elsewhere, and a listing of each file that pages link."""
    root = _root(config)
    texts = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for source, uri in PAGES.items():
        texts[uri] = (root / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=texts[uri]))
    listed: set[str] = set()
    for uri, text in texts.items():
        for target in _targets(text):
            path = _in_repository(uri, target)
            if path not in PAGES and not path.startswith("docs/") and (root / path).is_file():
                listed.add(path)
    for path in sorted(listed):
        files.append(File.generated(config, listing(path), content=_listed(root, path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page that hold in the repository into those of the site."""
    here, root = page.file.src_uri, _root(config)
    return turned(markdown, here, root)


def turned(markdown: str, uri: str, root: Path) -> str:
    """Return a page's text with links as the site has them.

    Args:
        uri: of the page in the site, such as `api/views.md`.
        root: the repository's folder.
    """

    def turn(match: re.Match[str]) -> str:
        target = match[2]
        if not _is_relative(target):
            return match[0]
        path, anchor = _in_repository(uri, target), urlsplit(target).fragment
        if path in PAGES:
            there = PAGES[path]
        elif path.startswith("docs/"):
            there = path.removeprefix("docs/")
        elif (root / path).is_file():
            there = listing(path)
        else:
            return match[0]  # which the build then complains of
        relative = posixpath.relpath(there, posixpath.dirname(uri) or ".")
        return f"{match[1]}{relative}{'#' + anchor if anchor else ''}{match[3]}"

    fenced, lines = False, []
    for line in markdown.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        lines.append(line if fenced else _LINK.sub(turn, line))
    return "\n".join(lines)


def listing(path: str) -> str:
    """The page in the site that shows a file of the repository."""
    return f"{LISTINGS}{path.replace('/', '-')}.md"


def _targets(text: str) -> list[str]:
    return [match[2] for match in _LINK.finditer(text) if _is_relative(match[2])]


def _is_relative(target: str) -> bool:
    parts = urlsplit(target)
    return bool(parts.path) and not parts.scheme and not parts.path.startswith("/")


def _in_repository(uri: str, target: str) -> str:
    """The path in the repository that a page's link leads to."""
    sources = {page: source for source, page in PAGES.items()}
    source = PurePosixPath(sources.get(uri, f"docs/{uri}"))
    return posixpath.normpath(str(source.parent / urlsplit(target).path))


def _listed(root: Path, path: str) -> str:
    language = {".cff": "yaml"}.get(PurePosixPath(path).suffix, PurePosixPath(path).suffix[1:])
    text = (root / path).read_text(encoding="utf-8").rstrip("\n")
    return f"# {path}\n\n````{language or 'text'}\n{text}\n````\n"


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).resolve().parent
