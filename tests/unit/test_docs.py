"""The documentation: links lead somewhere, what it names is there, examples run, its site works."""

import ast
import contextlib
import doctest
import importlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml

from synthgap.data.shards import Sample, ShardWriter

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
        *(ROOT / folder / "README.md" for folder in ("config", "benchmarks")),
    ]
)
GUIDES = ("adding-a-view", "adding-a-metric", "adding-a-captioner")
FENCE = re.compile(r"^( *)(`{3,}|~{3,})(.*)$")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def named(page):
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=named)


def parts(page):
    """The prose of a page, and its fenced blocks: (language and the rest of the line, text)."""
    prose, blocks, fence = [], [], ""
    for line in page.read_text().split("\n"):
        found = FENCE.match(line)
        if fence and found and found[2].startswith(fence) and not found[3].strip():
            fence = ""
        elif fence:
            blocks[-1][1].append(line)
        elif found:
            fence = found[2]
            blocks.append((found[3].strip(), []))
        else:
            prose.append(line)
    assert not fence, f"{named(page)}: a block has no end"
    return "\n".join(prose), [(about, "\n".join(lines) + "\n") for about, lines in blocks]


def links(page):
    return re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "``", parts(page)[0]))


def headings(page):
    """Text of a page's headings, without the marks around code and links."""
    found = re.findall(r"^#+ +(.+?) *#*$", parts(page)[0], re.MULTILINE)
    return [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "") for text in found]


def github_anchor(text):
    """As GitHub makes it: lower case, without punctuation, a hyphen for each blank."""
    kept = [c for c in text.lower() if c.isalnum() or c in "_- "]
    return "".join(kept).replace(" ", "-")


@cache
def hook():
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "docs/site/hook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def repository():
    """Every file of the repository, as git has it or is to have it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not listed.returncode:
        return frozenset(listed.stdout.split("\n")) - {""}
    left_out = {".git", ".venv", ".snakemake", "results", "site", "__pycache__"}
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return frozenset(str(file) for file in files if not left_out & set(file.parts))


@each_page
def test_links_and_anchors_lead_somewhere(page):
    for link in links(page):
        target = urlsplit(link)
        if target.scheme:
            assert target.scheme == "https", link
            continue
        assert not target.path.startswith("/"), f"{link}: a code host reads it otherwise"
        there = (page.parent / unquote(target.path)).resolve() if target.path else page
        assert there.exists(), f"{link}: no such file"
        if target.fragment:
            anchors = [github_anchor(text) for text in headings(there)]
            assert anchors.count(target.fragment) == 1, f"{link}: {anchors}"


@each_page
def test_the_site_names_anchors_as_github_does(page):
    for text in headings(page):
        assert hook().slug(text) == github_anchor(text)


@each_page
def test_images_have_a_text_in_their_place(page):
    text, _ = parts(page)
    for said in re.findall(r"!\[([^\]]*)\]\(", text):
        assert len(said.split()) > 3
    assert "<img" not in text


def test_every_guide_is_linked_from_the_readme():
    linked = {(ROOT / urlsplit(link).path).resolve() for link in links(ROOT / "README.md")}
    pages = {page for page in PAGES if page.parent == ROOT / "docs"}
    assert not pages - linked


def code(page):
    """What a page has as code, a line each: inline, and in blocks for a shell."""
    prose, blocks = parts(page)
    inline = re.findall(r"`([^`\n]+)`", prose)
    shell = [text for about, text in blocks if about in ("", "bash", "console")]
    return [*inline, *"\n".join(shell).replace("\\\n", " ").split("\n")]


# Where a file named in the text may lie; all other folders are a reader's or a run's.
PLACES = ("", "src/synthgap/", "workflow/", "src/synthgap/report/", "config/studies/")
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)+")


@each_page
def test_files_that_are_named_are_there(page):
    files = repository()
    folders = {str(parent) for file in files for parent in Path(file).parents}
    top = {Path(file).parts[0] for file in files if "/" in file}
    for line in code(page):
        for path in FILE.findall(line):
            first = path.split("/")[0]
            at = line.index(path)
            before, after = line[:at], line[at + len(path) :]
            whole = re.search(r"[\w/.~:@<>{}*$-]*$", before)[0] == ""
            if not whole or after.startswith(("<", "{", "*", "/<", "/{", "/*")):
                continue
            # Of others' repositories, and what the examples write.
            if page.stem in ("compositional", "changelog") and first not in top:
                continue
            if first in top or path.endswith((".py", ".smk")):
                known = any(place + path in files or place + path in folders for place in PLACES)
                made = path.startswith(("benchmarks/results/", "dpg_bench/")) or path in MADE
                assert known or made, f"{path} in: {line}"


# Named as what is to be made, or as another project's.
MADE = {"envs/synthgap.sif", "src/synthgap/views/posterise.py"}


def make_targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def rules():
    found = set()
    for file in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        found |= set(re.findall(r"^ *(?:rule|checkpoint) (\w+):", file.read_text(), re.MULTILINE))
    return found


@each_page
def test_make_targets_that_are_named_are_there(page):
    for line in code(page):
        for target in re.findall(r"(?:^|[\s;&])make ([a-z][a-z-]*)", line.split("#")[0]):
            assert target in make_targets(), line


# Options of Snakemake with a value, with several, and those whose values are rules.
WITH_VALUE = {"--profile", "--cores", "--jobs", "--retries", "--conda-prefix", "--workflow-profile",
              "--group-components", "--set-resource-scopes", "--rerun-triggers"}  # fmt: skip
WITH_VALUES = {"--configfile", "--config", "--sdm", "--resources"}
WITH_RULES = {"--until", "--forcerun", "--groups", "--set-resources"}


def snakemake_targets(line):
    """Rules that a command line of snakemake names, as targets or in options."""
    words = shlex.split(line, comments=True)
    words = words[words.index("snakemake") + 1 :]
    option = None
    for word in words:
        if word == "--":
            option = None
        elif word.startswith("-"):
            option = word.split("=")[0] if "=" not in word else None
        elif option in WITH_VALUES:
            pass
        elif option in WITH_RULES:
            yield re.split(r"[:=]", word)[0]
        elif option in WITH_VALUE:
            option = None
        elif re.fullmatch(r"[a-z_]+", word):
            yield word


@each_page
def test_snakemake_targets_that_are_named_are_there(page):
    known = rules()
    assert {"plan", "report", "train_classifier"} <= known
    for line in code(page):
        command = re.sub(r"^\$ |^apptainer run .*?\.sif ", "snakemake " * ("sif " in line), line)
        if not command.startswith("snakemake "):
            continue
        for target in snakemake_targets(command.replace("...", "")):
            assert target in known, f"no rule {target}: {line}"


@each_page
def test_options_of_commands_are_there(page):
    shared = (ROOT / "src/synthgap/job.py").read_text()
    for line in code(page):
        found = re.search(
            r"python ((?:workflow/scripts|benchmarks)/\w+\.py)(.*)", line.split(" #")[0]
        )
        if found:
            known = (ROOT / found[1]).read_text() + shared
            for option in re.findall(r" (--[a-z][a-z-]*)", found[2]):
                assert f'"{option}"' in known, f"{found[1]} has no {option}"


@each_page
def test_examples_of_config_are_yaml(page):
    for about, text in parts(page)[1]:
        if about.startswith("yaml"):
            assert yaml.safe_load(text), text


# What the guides on adding something make; their examples run below.
ADDED = {"synthgap.views.posterise", "synthgap.metrics.energy", "synthgap.captioners.daylight"}


@cache
def defined(module):
    """The names at the top of a module of the library; None where there is no such module."""
    file = ROOT / "src" / module.replace(".", "/")
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    if not file.is_file():
        return None
    names = {path.stem for path in file.parent.iterdir()} if file.stem == "__init__" else set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        else:
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return names


@each_page
def test_examples_of_python_import_what_is_there(page):
    for about, text in parts(page)[1]:
        if not about.startswith("python"):
            continue
        for node in ast.walk(ast.parse(text)):
            names = getattr(node, "names", [])
            if isinstance(node, ast.ImportFrom) and node.module.startswith("synthgap"):
                assert node.module in ADDED or {alias.name for alias in names} <= defined(
                    node.module
                )
            elif isinstance(node, ast.Import):
                ours = [alias.name for alias in names if alias.name.startswith("synthgap")]
                assert all(defined(module) is not None for module in ours), text


def modules_with_examples():
    for path in sorted((ROOT / "src/synthgap").rglob("*.py")):
        if ">>> " in path.read_text():
            name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
            yield name.removesuffix(".__init__")


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_of_docstrings_print_what_they_say(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed


def test_the_main_functions_have_examples():
    assert {f"synthgap.{name}" for name in (
        "views", "views.frequency", "views.patches", "composites.cutmix", "metrics.intervals",
        "metrics.neighbours", "metrics.frechet", "metrics.spectrum", "metrics.table", "data.shards",
    )} <= set(modules_with_examples())  # fmt: skip


def run(text, **names):
    """Run an example; return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(text, "example", "exec"), names)
    return printed.getvalue().strip()


def examples(name):
    return [text for about, text in parts(ROOT / "docs" / f"{name}.md")[1] if about == "python"]


def test_examples_of_the_library_run():
    [example] = examples("api/index")
    said = run(example)
    assert f"which prints `{said}`" in (ROOT / "docs/api/index.md").read_text()
    for example in examples("views"):
        assert run(example) == ""


def write_shards(folder, count, classes=("red fox", "owl")):
    for number in range(count):
        folder.mkdir(parents=True, exist_ok=True)
        with ShardWriter(folder / f"{number:05d}.tar", "png") as shard:
            for index in range(4):
                sample = Sample(
                    f"{index % 2:04d}-{number}{index:05d}", index % 2, classes[index % 2]
                )
                image = np.full((8, 8, 3), 40 * index + number, np.uint8)
                shard.add(sample, image)


def test_example_of_loading_shards_runs(tmp_path, monkeypatch):
    write_shards(tmp_path / "results/images/flow-g1-classname/train/rgb", 2)
    monkeypatch.chdir(tmp_path)
    said = run(examples("data")[0])
    assert said.count("\n") == 7
    assert "(8, 8) 0 red fox" in said


def test_example_that_checks_a_folder_finds_the_damage(tmp_path, monkeypatch):
    folder = tmp_path / "results/images/real/train/rgb"
    write_shards(folder, 2)
    monkeypatch.chdir(tmp_path)
    [example] = examples("reliability")
    assert run(example) == ""
    tar = folder / "00001.tar"
    content = bytearray(tar.read_bytes())
    content[520] ^= 1  # in the first image
    tar.write_bytes(content)
    assert run(example) == "results/images/real/train/rgb/00001.parquet: 0000-100000 is damaged"


def apply(text, file):
    """Change a file as a block of a guide says: hunks that `@@` parts, without line numbers."""
    content = file.read_text()
    for hunk in text.rstrip("\n").split("\n@@\n"):
        lines = hunk.split("\n")
        before = "\n".join(line[1:] for line in lines if line[:1] in (" ", "-", ""))
        after = "\n".join(line[1:] for line in lines if line[:1] in (" ", "+", ""))
        if not before.strip():
            raise AssertionError(f"a hunk without a place: {hunk}")
        assert content.count(before + "\n") == 1, f"{file} has not, or not once:\n{before}"
        content = content.replace(before + "\n", after + "\n")
    file.write_text(content)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the library with what the guides add, and the examples that try it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(
        ROOT / "src/synthgap", folder / "src/synthgap", ignore=shutil.ignore_patterns("__pycache__")
    )
    tried = []
    for guide in GUIDES:
        for about, text in parts(ROOT / "docs" / f"{guide}.md")[1]:
            language, _, title = about.partition(" title=")
            if title and language == "python":
                file = folder / title.strip('"')
                assert not file.exists()
                file.write_text(text)
            elif title:
                apply(text, folder / title.strip('"'))
            elif language == "python":
                tried.append(text)
    return folder, tried


CHECKS = """
import numpy as np
from synthgap import config
from synthgap.metrics.distribution import measure_distribution
from synthgap.metrics.reference import FAMILIES

rng = np.random.default_rng(0)
real, same, other = (rng.normal(m, size=(200, 4)) for m in (0, 0, 2))
assert "energy" in FAMILIES
[near] = measure_distribution(real, same, ["energy"])
[far] = measure_distribution(real, other, ["energy"])
assert near.value < 0.1 < 2 < far.value and far.low < far.value < far.high
import yaml
raw = yaml.safe_load(open(ROOT + "/config/config.yaml"))
raw["captioner"] = {"kind": "daylight"}
raw["views"]["flat"] = {"kind": "posterise", "levels": 4}
for distribution in raw["distributions"].values():
    distribution["metrics"] = ["prdc", "energy"]
study = config.parse(raw)
assert study.captioner.options() == {"kind": "daylight"}
assert study.view_options("flat")["levels"] == 4
raw["views"]["flat"]["levels"] = 1
try:
    config.parse(raw)
except config.UserError as error:
    assert "levels" in str(error)
else:
    raise AssertionError
"""


def test_what_the_guides_add_works(extended):
    folder, tried = extended
    says = []
    for text in tried:
        says += re.findall(r"print\(.*\)  # (.*)", text)
    program = "\n".join([f"ROOT = {str(ROOT)!r}", *tried, CHECKS])
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not result.returncode, result.stderr
    assert result.stdout.split("\n")[:-1] == says
    assert len(says) == 2


def test_what_the_guides_add_is_in_the_projects_style(extended):
    folder, _ = extended
    shutil.copy2(ROOT / "pyproject.toml", folder)
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "src"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not result.returncode, result.stdout


def test_what_is_to_be_cited_is_said_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    page = (ROOT / "docs/reproducing.md").read_text()
    assert cited["version"] == version
    assert f"version = {{{version}}}" in page
    assert f"title   = {{{cited['title']}}}" in page
    readme = " ".join((ROOT / "README.md").read_text().split())
    titles = re.findall(r"^  title = \{(.*)\},$", page, re.MULTILINE)
    assert len(titles) == 4
    for title in titles:
        assert f"*{re.sub('[{}]', '', title)}*" in readme


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it; every warning is an error."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9",
             "https_proxy": "http://127.0.0.1:9"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not result.returncode, result.stdout + result.stderr
    return folder


def test_pages_load_nothing_from_a_server(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        text = page.read_text()
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag), f"{page}: {tag}"
        assert page.name == "404.html" or not re.search(r'(?:src|href)="/', text)
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", style.read_text()), style


def test_examples_and_signatures_are_on_the_pages(site):
    text = (site / "api/views.html").read_text()
    for word in ("low_pass", "half_width", "stripes", "mask_shape"):
        assert word in text
    assert "When Pretty" in (site / "index.html").read_text()
    assert "imagenet-200" in (site / "configuration.html").read_text()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_it_opens_and_is_searched_from_disk(site):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 400, "height": 800})
        wrong = []
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else None)
        for name in ("index", "transfer", "configuration", "api/metrics"):
            page.goto((site / f"{name}.html").as_uri())
            page.wait_for_load_state()
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 400, f"{name} is {wide} pixels wide"
        page.set_viewport_size({"width": 1280, "height": 800})
        page.locator(".md-search__input").click()
        page.keyboard.type("posterise")
        found = page.locator(".md-search-result__item a.md-search-result__link").first
        assert "adding-a-view.html" in found.get_attribute("href")
        browser.close()
    assert not wrong
