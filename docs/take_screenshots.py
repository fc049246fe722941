"""Pictures of a finished demo for the README: the page in Chromium, and its contact sheets."""

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

GAP = 24
WIDTH, HEIGHT = 1100, 640
TALL = 2 * HEIGHT + GAP
SHEETS = {"contact-sources": "sources", "contact-views": "views"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"), help="folder to write")
    args = parser.parse_args()
    report = args.results / "report.html"
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not report.exists():
        sys.exit(f"error: there is no {report}; run `make demo` first")
    if chromium is None:
        sys.exit("error: Chromium is not installed; on Debian and Ubuntu: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-ready]")
        whole = Image.new("RGB", (2 * WIDTH + GAP, TALL), "white")
        whole.paste(top(page), (0, 0))
        whole.paste(figure(page), (WIDTH + GAP, 0))
        whole.paste(lineage(page), (WIDTH + GAP, HEIGHT + GAP))
        browser.close()
    half = whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS)
    half.save(args.images / "report.png", optimize=True)
    for sheet, name in SHEETS.items():
        shutil.copy(args.results / "figures" / f"{sheet}.png", args.images / f"{name}.png")


def top(page: Page) -> Image.Image:
    """Question, answer and the table of numbers."""
    return taken(page, TALL)


def figure(page: Page) -> Image.Image:
    """The figures, one of them pointed at."""
    chart = page.locator("#figure-transfer_by_generator")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.evaluate("document.getElementById('figure-transfer_by_generator').scrollIntoView()")
    chart.locator("svg.marks").wait_for()
    page.wait_for_timeout(1500)
    chart.locator(".mark-symbol.role-mark path").last.hover(force=True)
    page.wait_for_timeout(300)
    return taken(page)


def lineage(page: Page) -> Image.Image:
    """An image with what made it."""
    page.evaluate("document.getElementById('images').scrollIntoView()")
    page.locator("#images-sources [data-image]").nth(-3).click()
    page.wait_for_timeout(300)
    return taken(page)


def taken(page: Page, height: int = HEIGHT) -> Image.Image:
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
