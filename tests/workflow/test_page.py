"""The page of a finished run in Chromium: opened from disk, used by mouse and keyboard."""

import csv
import io
import json
import shutil
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from synthgap.data.shards import ImageReader

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium")

LARGEST = 12_000_000  # bytes
PATIENCE = 10_000  # milliseconds


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, finished):
    """The page, opened; what the browser complained of or asked for is told at the end."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    address = (finished / "results/report.html").as_uri()
    page.goto(address)
    page.wait_for_selector("html[data-ready]", timeout=PATIENCE)
    yield page
    assert not complaints
    assert [url for url in requests if not url.startswith("data:")] == [address]
    page.close()


def through(page):
    """Scroll through the page, so that all that waits to be seen is drawn."""
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, 600):
        page.evaluate(f"scrollTo(0, {top})")
        page.wait_for_timeout(30)
    charts = page.locator("[data-spec]")
    for number in range(charts.count()):
        charts.nth(number).scroll_into_view_if_needed()
        page.wait_for_selector(f"[data-spec] >> nth={number} >> svg.marks", timeout=PATIENCE)
    page.evaluate("scrollTo(0, 0)")


def test_it_is_small_and_all_of_it_is_drawn_without_a_complaint(page, finished):
    assert (finished / "results/report.html").stat().st_size < LARGEST
    through(page)
    drawn = {path.stem for path in (finished / "results/figures").glob("*.json")}
    assert page.locator("[data-spec].live").count() == len(drawn) > 5


def test_it_can_be_used_at_once(page):
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
    assert 0 < ready < PATIENCE


def test_tables_are_sorted_by_their_numbers(page):
    table = page.get_by_role("region", name="Main results")
    heading = table.locator("th", has_text="Synth→Real")
    shares = lambda: [  # noqa: E731
        float(text.split()[0]) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()
    ]
    before = shares()
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(heading).to_have_attribute("aria-sort", "ascending")
    assert shares() == sorted(before)
    page.keyboard.press("Enter")
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert shares() == sorted(before, reverse=True)


def test_an_image_leads_back_to_what_made_it(page, finished):
    sheet = page.locator("#images-sources")
    line = sheet.locator(".line", has=page.get_by_text("flow-g2-caption", exact=True))
    thumb = line.locator("[data-image]").first
    thumb.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    names = dialog.locator("div > dl").first.locator("dt").all_inner_texts()
    values = dialog.locator("div > dl").first.locator("dd").all_inner_texts()
    facts = dict(zip(names, values, strict=True))
    assert facts["Source"] == "flow-g2-caption, test"
    assert facts["Prompt"].startswith(facts["Class"])
    key = facts["In it"].split(",")[0]
    tar = finished / facts["Shard"]
    told = json.loads(tar.with_suffix(".json").read_text())
    made = dialog.locator("details dl")
    dialog.get_by_text("How its shard was made").click()
    assert "Generator: guidance scale" in made.inner_text()
    assert str(told["options"]["generator"]["guidance_scale"]) in made.inner_text()
    command = dialog.locator("pre").inner_text()
    assert command == (
        f"python workflow/scripts/regenerate_image.py --tar {facts['Shard']} --key {key} "
        "--image again.png"
    )
    again = subprocess.run(
        command, shell=True, cwd=finished.folder, capture_output=True, text=True, check=False
    )
    assert f"{key}: identical, byte for byte" in again.stdout, again.stderr
    size, offset = (int(word.replace(",", "")) for word in facts["In it"].split()[1::3])
    with ImageReader() as reader:
        assert reader.read_bytes(tar, offset, size, None) == (finished / "again.png").read_bytes()
    (finished / "again.png").unlink()

    title = dialog.locator("h3").inner_text()
    page.keyboard.press("ArrowRight")
    assert dialog.locator("h3").inner_text() != title
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.matches('[data-image]')")


def test_every_sheet_of_images_is_there_and_none_is_broken(page):
    kinds = {"sources", "views", "composites", "typical", "uncovered", "nearest", "mistaken"}
    found = page.locator("section.sheet").evaluate_all("all => all.map((one) => one.id)")
    assert {f"images-{kind}" for kind in kinds} <= set(found)
    through(page)
    widths = page.locator("[data-image] img").evaluate_all("all => all.map((i) => i.naturalWidth)")
    assert len(widths) > 50
    assert min(widths) > 0


def test_figures_react(page):
    figure = page.locator("#figure-transfer_by_generator")
    figure.scroll_into_view_if_needed()
    chart = figure.locator("svg.marks")
    chart.wait_for(timeout=PATIENCE)
    figure.locator(".mark-symbol.role-mark path").last.hover(force=True)
    page.locator("#vg-tooltip-element.visible").wait_for(timeout=PATIENCE)

    button = figure.locator("[data-series]").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function(
        "(b) => b.getAttribute('aria-pressed') === 'true'", arg=button.element_handle()
    )
    assert figure.locator("svg [opacity='0.12'], svg [fill-opacity='0.12']").count()
    page.keyboard.press("Enter")
    page.wait_for_function(
        "(b) => b.getAttribute('aria-pressed') === 'false'", arg=button.element_handle()
    )

    axis = lambda: figure.locator(".role-axis-label").all_text_contents()  # noqa: E731
    before, box = axis(), chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(200)
    assert axis() == before, "a wheel without Shift scrolls the page"
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.down("Shift")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Shift")
    page.wait_for_timeout(300)
    assert axis() != before


def test_the_numbers_behind_a_figure_can_be_saved(page):
    link = page.locator("a[download='transfer_by_generator.csv']")
    with page.expect_download() as download:
        link.click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert {row["train_source"] for row in rows} > {"real"}


def test_a_figure_can_be_saved_as_vectors(page):
    figure = page.locator("#figure-transfer_by_generator")
    figure.scroll_into_view_if_needed()
    figure.get_by_label("Save this figure").click(timeout=PATIENCE)
    with page.expect_download() as download:
        figure.get_by_text("Save as SVG").click()
    assert download.value.path().read_text().startswith("<svg")


def test_the_keyboard_reaches_everything(page):
    reached = page.evaluate(
        """() => [...document.querySelectorAll(
          "a[href], button, summary, input, .scroll, [role=button], .chart")]
        .filter((one) => one.checkVisibility() && one.tabIndex < 0)
        .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert reached == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')").startswith("#")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_it_is_readable_on_a_phone_and_in_the_dark(page, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    through(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    faults = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in faults] == []
    colours = set(
        page.locator("svg.marks text").evaluate_all("all => all.map((t) => t.getAttribute('fill'))")
    )
    assert ("#e6eaee" in colours) == (scheme == "dark")


def test_it_is_whole_without_scripts(browser, finished):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((finished / "results/report.html").as_uri())
    pictures = page.locator(".chart img")
    assert pictures.count() > 5
    assert page.get_by_role("heading", level=2).count() > 5
    context.close()
