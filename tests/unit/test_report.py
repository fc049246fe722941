import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_metrics import (
    made_up_architectures,
    made_up_comparisons,
    made_up_rows,
    made_up_scores,
)
from PIL import Image

import draw_probe_sheet
import write_report
from measure_captions import SAMPLE_SCHEMA
from synthgap.data.shards import Sample, ShardWriter, gather
from synthgap.errors import UserError
from synthgap.figures import data, style, transfer_by_generator
from synthgap.metrics.table import Row, to_table
from synthgap.report.answer import answer
from synthgap.report.claims import claims, claims_csv
from synthgap.report.render import render
from synthgap.report.sheets import contact_sheet, probe_sheet

CONTEXT = {
    "config_yaml": "study: transfer\nnote: <b>&amp;",
    "versions": {"numpy": "2.0"},
    "commands": ["make demo"],
}


def page(rows, figures=None, sheets=(), **context):
    return render(to_table(rows), figures or {}, sheets, {**CONTEXT, **context})


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\N{NO-BREAK SPACE}", " ")


def answered(rows):
    return answer(data.sources(rows), data.synth_to_real(rows))


class Resources(HTMLParser):
    """Whatever a browser would load or run, and whether tags are balanced."""

    VOID = ("meta", "img", "link", "br", "hr", "input")

    def __init__(self, html):
        super().__init__()
        self.loaded, self.open, self.alts, self.downloads = [], [], [], {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        assert tag not in ("link", "iframe", "object")
        if tag == "a" and "download" in dict(attrs):
            self.downloads[dict(attrs)["download"]] = dict(attrs)["href"]
            attrs = []
        values = dict(attrs)
        self.loaded += [values[name] for name in ("src", "href", "srcset") if name in values]
        if tag == "img":
            self.alts.append(values["alt"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else():
    rows = made_up_rows()
    png = io.BytesIO()
    contact_sheet([("real", np.zeros((2, 8, 8, 3), np.uint8))]).save(png, "PNG")
    figures = {"transfer_by_generator": style.svg(transfer_by_generator.draw(to_table(rows)))}
    sheets = [{"title": "Ten <each>", "caption": "Digits.", "png_bytes": png.getvalue()}]
    html = page(rows, figures, sheets)
    found = Resources(html)
    assert not found.open
    assert all(uri.startswith(("data:image/", "#")) for uri in found.loaded)
    assert "default-src 'none'" in html, "nothing else may be loaded"
    assert len(found.alts) == 2
    assert all(found.alts)
    for uri in found.loaded:
        if uri.startswith("#"):
            assert f'id="{uri[1:]}"' in html
    assert page(rows, figures, sheets) == html


def test_every_value_and_limit_appears():
    rows = made_up_rows()
    further = made_up_architectures(rows)
    gaps = [r for r in made_up_comparisons(rows) if r.metric == "gap_to_real"]
    rows += [*further, *(row for row in gaps if row.settings["probe"] == "rgb")]
    text = text_of(page(rows))
    for row in rows:
        if row.metric == "gap_to_real":
            low, high = (f"{100 * limit:.1f}" for limit in (row.ci_low, row.ci_high))
            assert f"{100 * row.value:.1f} {low} – {high}" in text
        elif row.metric.startswith("density"):
            assert f"{row.value:.2f} {row.ci_low:.2f} – {row.ci_high:.2f}" in text
        else:
            limits = f"{100 * row.ci_low:.1f} – {100 * row.ci_high:.1f}"
            assert f"{100 * row.value:.1f} % {limits}" in text


def test_how_numbers_were_made_comes_from_the_rows():
    rows = [
        dataclasses.replace(row, settings={**row.settings, "epochs": 12}) for row in made_up_rows()
    ]
    seeds = [dataclasses.replace(row, seed=seed) for row in rows for seed in (3, 7)]
    text = text_of(page([*rows, *seeds]))
    for fact in (
        "Metric density_k5_euclidean",
        "Items averaged over 450",
        "Encoder resnet-tiny-real",
        "Training seeds 3, 7",
        "Epochs 12",
        "Confidence level 95 %",
    ):
        assert fact in text


def test_text_from_outside_is_escaped():
    html = page(made_up_rows(), title="<script>alert(1)</script>")
    assert "<script>" not in html
    assert "note: &lt;b&gt;&amp;amp;" in html


@pytest.mark.parametrize(
    ("slope", "verdict", "headline"),
    [(-0.25, "no", "No:"), (0.25, "yes", "Yes:"), (0.0, "not distinguishable", "Not dist")],
)
def test_the_answer_follows_the_numbers(slope, verdict, headline):
    rows = [dataclasses.replace(row) for row in made_up_rows(slope=slope)]
    if slope == 0.0:
        rows = [
            dataclasses.replace(row, value=0.7, ci_low=0.68, ci_high=0.72)
            if row.metric == "top1_accuracy"
            else row
            for row in rows
        ]
    got = answered(rows)
    assert {c.verdict for c in got.comparisons} == {verdict}
    assert got.headline.startswith(headline)
    text = text_of(page(rows))
    assert got.headline in text
    assert f"With caption prompts: {verdict} ." in text


def test_the_answer_says_when_prompts_disagree():
    up, down = made_up_rows(slope=0.25), made_up_rows(slope=-0.25)
    rows = [
        a if a.settings.get("prompts") == "caption" else b for a, b in zip(up, down, strict=True)
    ]
    assert [c.verdict for c in answered(rows).comparisons] == ["no", "yes"]
    assert "It depends on the prompts." in page(rows)


def test_the_difference_is_squared_and_added():
    rows = made_up_rows()
    comparison = answered(rows).comparisons[0]
    accuracy = data.synth_to_real(rows)
    expected = accuracy["flow-g4-classname"].value - accuracy["flow-g1-classname"].value
    assert comparison.difference == pytest.approx(expected)
    assert comparison.high - comparison.difference == pytest.approx(0.02 * 2**0.5)
    assert comparison.difference - comparison.low == pytest.approx(0.02 * 2**0.5)


def test_without_intervals_nothing_is_claimed():
    rows = [dataclasses.replace(row, ci_low=None, ci_high=None) for row in made_up_rows()]
    assert answered(rows).headline.startswith("Not distinguishable")
    assert "unknown" in page(rows)


def test_one_generator_gives_no_answer():
    rows = made_up_rows([("only", 1.0)])
    assert answered(rows) is None
    assert "nothing can be compared" in page(rows)


def test_release_dates_read_as_dates_with_a_rank_correlation():
    rows = made_up_rows(
        [("a", 2022.8), ("b", 2023.5), ("c", 2024.5), ("d", 2025.0), ("e", 2025.5)], "release date"
    )
    text = text_of(page(rows))
    assert "Do newer generators make better training data?" in text
    assert "released 2022-10-20" in text
    assert "rank correlation with release date is −1.00" in text


@pytest.mark.parametrize("key", sorted(CONTEXT))
def test_a_missing_context_key_is_named(key):
    context = {name: value for name, value in CONTEXT.items() if name != key}
    with pytest.raises(UserError, match=key):
        render(to_table(made_up_rows()), {}, [], context)


def test_an_empty_table_is_refused():
    with pytest.raises(UserError, match="no rows with a synthetic source"):
        page([])


def test_other_architectures_have_a_table_of_their_own():
    rows = made_up_rows()
    parts = "What each part of the image carries over"
    text = text_of(page([*rows, *made_up_architectures(rows)]))
    (table,) = re.findall(f"Other architectures (.*?) {parts}", text)
    assert "Source resnet-tiny probe rgb vit-ti probe vit real the reference 95.0 %" in table
    after = text.split(parts)[1]
    assert "Structure depth, resnet-tiny" in after
    assert "vit-ti" not in after.split("How each number")[0]
    assert "Other architectures" not in text_of(page(rows))


def test_figures_offer_their_numbers():
    figures = dict.fromkeys(("mixing", "transfer_by_generator"), "<svg/>")
    html = render(to_table(made_up_rows()), figures, [], CONTEXT, (), {"mixing": "a,b\n1,é\n"})
    found = Resources(html)
    assert not found.open
    (uri,) = found.downloads.values()
    assert list(found.downloads) == ["mixing.csv"]
    kind, content = uri.split(";base64,")
    assert kind == "data:text/csv;charset=utf-8"
    assert base64.b64decode(content).decode() == "a,b\n1,é\n"
    assert html.index('id="figure-transfer_by_generator"') < html.index('id="figure-mixing"')


def test_what_was_found_is_told():
    rows = made_up_rows([(f"g{i}", 2022.0 + i) for i in range(6)], "release date")
    rows += [*made_up_comparisons(rows), *made_up_scores(rows)]
    found = claims(rows)
    html = render(to_table(rows), {}, [], CONTEXT, (), {}, found)
    assert not Resources(html).open
    assert html.index('href="#claims"') < html.index('id="claims"') < html.index('id="made"')
    text = text_of(html)
    told = [(claim, finding) for claim in found for finding in claim.findings]
    for claim, finding in told:
        assert f"{claim.title} paper A, {claim.paper}" in text
        sentence = finding.sentence.replace("\N{NO-BREAK SPACE}", " ")
        assert f"{finding.verdict} {sentence}" in text
    assert "twenty claims without anything to them" in text
    assert "with the interval of Bonett and Wright" in text
    assert "Accuracy relative to real Synth→Real divided by" in text
    without = text_of(page(made_up_rows()))
    assert "What was found" not in without
    assert "Bonett" not in without


def caption_row(metric, value, n=1000, source="real", low=None, high=None, **settings):
    about = {"captioner": "asked", "model": "asked-2", "prompt": "paper-a"}
    settings = settings if "text_encoder" in settings else about | settings
    return Row("captions", metric, value, n, low, high, test_source=source, settings=settings)


CAPTION_ROWS = [
    caption_row("words_mean", 1024.25, 900, low=1001.5, high=1033.75),
    caption_row("distinct_words", 2345.4, 900, captions=500),
    caption_row("distinct_words", 3456.0, 900, captions=900),
    caption_row("share_duplicate", 0.123, 900),
    caption_row("share_refused", 0.1, low=0.083, high=0.12),
    caption_row("output_tokens_total", 45678, 1000),
    caption_row("cost_usd_total", 1234.567, 990),
    caption_row("share_prompts_cut", 0.25, 800, "flow-g1-caption", 0.22, 0.28, text_encoder="any"),
    caption_row("share_prompts_cut", 0.2, 800, "flow-g1-caption", 0.17, 0.23, text_encoder="clip"),
    caption_row("tokens_cut_mean", 7.5, 160, "flow-g1-caption", 7.1, 7.9, text_encoder="clip"),
    caption_row("tokens_cut_mean", 7.7, 200, "flow-g1-caption", 7.3, 8.1, text_encoder="any"),
    caption_row("share_prompts_cut", 0.0, 800, "flow-g4-caption", 0, 0.01, text_encoder="any"),
]


def caption_sample(side=8, **more):
    content = io.BytesIO()
    Image.new("RGB", (side, side), (200, 0, 0)).save(content, more.pop("form", "PNG"))
    told = {"key": "k", "class_name": "hen", "caption": "A hen.", "status": "ok"}
    return told | {"image": content.getvalue()} | more


def page_of_captions(sample=(), rows=CAPTION_ROWS):
    context = {**CONTEXT, "caption_prompt": "Describe <this> image"}
    return render(to_table([*made_up_rows(), *rows]), {}, [], context, sample)


def test_captions_are_told_in_numbers():
    html = page_of_captions()
    assert not Resources(html).open
    assert html.index('href="#captions"') < html.index('id="captions"') < html.index('id="made"')
    text = text_of(html)
    for told in (
        "Captioner asked Model asked-2 Prompt paper-a Images 1,000 Captions 900 "
        "Tokens written 45,678 Cost US$ 1,234.57 (known of 990 images)",
        "Describe &lt;this&gt; image",
        "Words in a caption mean 1,024.25 1,001.50 – 1,033.75 900 captions",
        "Distinct words expected in so many of the 900 2,345 500 captions",
        "Distinct words in all 3,456 900 captions",
        "Duplicates equal to an earlier one, but for case and space 12.3 % 900 captions",
        "Refused the model declined 10.0 % 8.3 – 12.0 1,000 images",
        "flow-g1-caption clip 20.0 % 17.0 – 23.0 7.50 7.10 – 7.90",
        "No prompt was cut in flow-g4-caption.",
        "Every interval, but for those of captions, is a percentile bootstrap",
    ):
        assert told in text
    assert "Tokens read" not in text
    assert "25.0 % 22.0" not in text  # by any encoder: no encoder of its own
    assert "<img" not in html


def test_sample_of_captions_is_shown_with_its_images():
    sample = [
        caption_sample(8, caption="A <script>hen</script> & more.", class_name='h"en<'),
        caption_sample(300, form="JPEG", caption="", status="refused"),
        caption_sample(300, form="WEBP", caption="", status="failed: <b>"),
    ]
    html = page_of_captions(sample)
    found = Resources(html)
    assert not found.open
    images = [uri for uri in found.loaded if uri.startswith("data:")]
    kinds = [uri.split(";")[0] for uri in images]
    assert kinds == ["data:image/png", "data:image/jpeg", "data:image/webp"]
    for uri, one in zip(images, sample, strict=True):
        assert base64.b64decode(uri.split(",")[1]) == one["image"]
    assert found.alts[0] == 'Training image of the class h"en<'
    assert html.count('<img class="tiny"') == html.count("<figure><img class") == 1
    text = text_of(html)
    assert "A &lt;script&gt;hen&lt;/script&gt; &amp; more." in text
    assert "hen refused" in text
    assert "hen failed: &lt;b&gt;" in text
    assert html.count('class="without"') == 2


def test_page_without_captions_has_no_such_section():
    html = page(made_up_rows())
    assert "captions" not in text_of(html).lower().replace("figcaption", "")
    assert render(to_table(made_up_rows()), {}, [], CONTEXT, [caption_sample()]) == html


def test_captions_that_are_no_prompts_are_told_alone():
    rows = [row for row in CAPTION_ROWS if row.test_source == "real"]
    text = text_of(page_of_captions(rows=rows))
    assert "Words in a caption" in text
    assert "Behind the class name" not in text
    assert "cut" not in text.split("Captions What")[1].split("How each number")[0]


def test_report_takes_the_sample_of_captions(tmp_path):
    rows = [*made_up_rows(), *CAPTION_ROWS]
    pq.write_table(to_table(rows), tmp_path / "metrics.parquet")
    svg, png = tmp_path / "distinguish.svg", tmp_path / "contact-sources.png"
    svg.write_text(style.svg(transfer_by_generator.draw(to_table(rows))))
    png.write_bytes(caption_sample()["image"])
    sample = tmp_path / "sample.parquet"
    pq.write_table(pa.Table.from_pylist([caption_sample()], SAMPLE_SCHEMA), sample)
    words = ["--metrics", tmp_path / "metrics.parquet", "--figures", svg, "--sheets", png]
    words += ["--config", "{}", "--report", tmp_path / "report.html"]
    numbers = tmp_path / "distinguish.csv"
    numbers.write_text("a,b\n")
    words += ["--numbers", numbers, "--claims", tmp_path / "claims.csv"]
    asked = ["--captioner", '{"prompt": "Say what you see"}']
    for more, images in ([sample, *asked], 3), ([], 2):
        given = list(map(str, [*words, "--caption-sample", *more]))
        write_report.main(write_report.options().parse_args(given))
        html = (tmp_path / "report.html").read_text()
        assert len(Resources(html).alts) == images
        assert ("Say what you see" in html) == bool(more)
        assert "distinguish.csv" in Resources(html).downloads
        assert (tmp_path / "claims.csv").read_text() == claims_csv(claims(rows))


def test_the_page_tells_how_its_own_study_is_made_again():
    assert write_report.commands("")[0] == "make demo"
    for told in write_report.commands(" --configfile config/studies/distinguish.yaml"):
        assert told.startswith("snakemake")
        assert "--configfile config/studies/distinguish.yaml" in told


def test_contact_sheet_repeats_pixels():
    images = np.random.default_rng(0).integers(0, 256, size=(3, 8, 6, 3), dtype=np.uint8)
    sheet = contact_sheet([("real", images), ("flow", images[:1])], scale=5, columns=2)
    pixels = np.asarray(sheet)
    assert sheet.mode == "RGB"
    left = sheet.width - 2 * (30 + 4)
    enlarged = images.repeat(5, axis=1).repeat(5, axis=2)
    np.testing.assert_array_equal(pixels[4:44, left : left + 30], enlarged[0])
    np.testing.assert_array_equal(pixels[4:44, left + 34 : left + 64], enlarged[1])
    np.testing.assert_array_equal(pixels[48:88, left : left + 30], enlarged[0])
    assert (pixels[48:88, left + 34 :] == 255).all()
    assert (pixels[4:44, : left - 4] < 128).any()  # the label
    assert isinstance(sheet, Image.Image)


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([], {}),
        ([("a", np.zeros((1, 8, 8, 3)))], {}),
        ([("a", np.zeros((1, 8, 8), np.uint8))], {}),
        ([("a", np.zeros((1, 8, 8, 3), np.uint8)), ("b", np.zeros((1, 9, 8, 3), np.uint8))], {}),
        ([("a", np.zeros((1, 8, 8, 3), np.uint8))], {"scale": 0}),
        ([("a", np.zeros((1, 8, 8, 3), np.uint8))], {"columns": 0}),
    ],
)
def test_bad_sheets_are_refused(rows, options):
    with pytest.raises(UserError, match="contact sheet"):
        contact_sheet(rows, **options)


def noise(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def blocks(sheet, images, scale):
    """Return (top, left) of each image in a sheet, which must hold it exactly once."""
    pixels = np.asarray(sheet)
    places = []
    for image in images:
        large = image.repeat(scale, 0).repeat(scale, 1)
        height, width = large.shape[:2]
        [place] = [
            (top, left)
            for top, left in zip(*np.nonzero((pixels == large[0, 0]).all(-1)), strict=True)
            if np.array_equal(pixels[top : top + height, left : left + width], large)
        ]
        places.append(place)
    return places


def test_probe_sheet_has_sources_in_groups_of_rows_and_views_in_columns():
    images = [noise(8, 10, seed=seed) for seed in range(4)]
    crops = [noise(4, 6, seed=10 + seed) for seed in range(4)]
    rows = list(zip(images, crops, strict=True))
    sheet = probe_sheet([("real", rows[:2]), ("flow", rows[2:])], ["a", "b"], scale=3)
    full, small = blocks(sheet, images, 3), blocks(sheet, crops, 3)
    tops, lefts = zip(*full, strict=True)
    assert len(set(lefts)) == 1
    assert tops[1] - tops[0] == tops[3] - tops[2] == 8 * 3 + 4
    assert tops[2] - tops[1] > 8 * 3 + 8  # the groups stand apart
    # A crop is in the middle of a place as large as the whole image.
    assert small == [(top + 6, lefts[0] + 30 + 4 + 6) for top in tops]
    pixels = np.asarray(sheet)
    assert (pixels[: tops[0], lefts[0] :] < 128).any()  # the titles
    dark = np.flatnonzero((pixels[:, : lefts[0] - 4] < 128).any(axis=(1, 2)))
    middles = [(tops[0] + tops[1] + 24) / 2, (tops[2] + tops[3] + 24) / 2]
    for middle in middles:  # one label a group, at its middle
        assert (abs(dark - middle) < 8).any()
    assert all(min(abs(line - middle) for middle in middles) < 12 for line in dark)


def test_probe_sheet_makes_room_for_long_titles_and_labels():
    image = noise(16, 16)
    words = ["a view of many words", "rgb"]
    narrow = probe_sheet([("real", [[image, image]])], ["a", "rgb"])
    wide = probe_sheet([("real", [[image, image]])], words)
    assert wide.width > narrow.width + 50
    assert wide.height == narrow.height
    long = probe_sheet([("a-generator-of-many-words-caption", [[image, image]])], ["a", "rgb"])
    assert long.width > narrow.width + 100
    for sheet in (narrow, wide, long):  # nothing touches the edge
        edge = np.asarray(sheet).copy()
        edge[1:-1, 1:-1] = 255
        assert (edge == 255).all()


@pytest.mark.parametrize(
    ("groups", "columns", "options"),
    [
        ([], ["rgb"], {}),
        ([("a", [[noise(8, 8)]])], [], {}),
        ([("a", [])], ["rgb"], {}),
        ([("a", [[noise(8, 8)]])], ["rgb", "low"], {}),
        ([("a", [[noise(8, 8).astype(float)]])], ["rgb"], {}),
        ([("a", [[noise(8, 8)[..., 0]]])], ["rgb"], {}),
        ([("a", [[noise(8, 8)]])], ["rgb"], {"scale": 0}),
    ],
)
def test_bad_probe_sheets_are_refused(groups, columns, options):
    with pytest.raises(UserError, match="probe sheet"):
        probe_sheet(groups, columns, **options)


def write_images(folder, images):
    """Write a shard of images by key (its first digits are the class) and its manifest."""
    folder.mkdir(parents=True)
    with ShardWriter(folder / "00000.tar", "png") as shard:
        for key, image in images.items():
            label = int(key[:4])
            shard.add(Sample(key, label, f"class {label}"), image)
    gather([folder / "00000.tar"], folder / "manifest.parquet")
    return folder / "manifest.parquet"


def draw(sheet, sources, views, manifests):
    words = ["--sources", *sources, "--views", *views, "--manifests", *map(str, manifests)]
    options = draw_probe_sheet.options().parse_args([*words, "--sheet", str(sheet)])
    draw_probe_sheet.main(options)
    return np.asarray(Image.open(sheet))


def test_the_sheet_of_views_shows_the_same_images_in_each_view(tmp_path):
    keys = [f"{label:04d}-{number:06d}" for number in (7, 8) for label in (2, 0, 1)]
    manifests, shown = [], []
    for source in range(2):
        images = {key: noise(32, 32, seed=100 * source + i) for i, key in enumerate(keys)}
        # The first view has the images in another order, the second two of each.
        views = [
            images,
            {key: 255 - images[key] for key in reversed(keys)},
            {f"{key}-{n}": images[key][n : n + 16, :16] // 2 for key in keys for n in range(2)},
        ]
        for number, view in enumerate(views):
            manifests.append(write_images(tmp_path / str(source) / str(number), view))
        for key in ("0000-000007", "0001-000007"):  # the first and the middle class
            shown += [images[key], 255 - images[key], images[key][:16, :16] // 2]
    sources, names = ["real", "flow-g2-caption"], ["rgb", "low", "crop"]
    pixels = draw(tmp_path / "a.png", sources, names, manifests)
    tops, lefts = np.asarray(blocks(pixels, shown, 3)).reshape(4, 3, 2).transpose(2, 0, 1)
    assert (np.diff(tops[:, 0]) > 96).all()
    assert (tops - tops[:, :1] == [0, 0, 24]).all()
    assert (lefts == lefts[0]).all()
    assert (np.diff(lefts[0]) >= 100).all()
    draw(tmp_path / "b.png", sources, names, manifests)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    manifests[1] = write_images(tmp_path / "other", {"0000-000009": noise(32, 32)})
    with pytest.raises(UserError, match="has no image 0000-000007"):
        draw(tmp_path / "c.png", sources, names, manifests)


def test_the_sheet_of_views_shows_classes_that_all_sources_have():
    labels = [np.array([3, 0, 2, 1]), np.array([2, 1, 1, 3, 3])]
    assert draw_probe_sheet.shown_classes(labels) == [1, 2]
    assert draw_probe_sheet.shown_classes([np.array([4, 4])]) == [4]
    with pytest.raises(UserError, match="no class in common"):
        draw_probe_sheet.shown_classes([np.array([0]), np.array([1])])


def test_everything_measured_of_images_is_in_tables_of_its_own():
    def measured(metric, value, source, **settings):
        rows.append(
            Row(
                study="transfer", metric=metric, value=value, n=500, ci_low=0.9 * value,
                ci_high=1.1 * value, train_source="real", test_source=source, view="rgb",
                encoder=settings["distribution"], settings=about[source] | settings,
            )
        )  # fmt: skip

    rows = made_up_rows()
    about = {row.test_source: row.settings for row in rows if row.metric.startswith("density")}
    for source in ("real", "flow-g1-classname"):
        for name in ("clip", "dinov2"):
            measured(
                "density_k5_euclidean", 0.8 if name == "clip" else 0.7, source, distribution=name
            )
        measured("fid_n500", 12.3456, source, distribution="inception")
        measured("kid_all_pairs", 0.00123, source, distribution="inception")
        for number, label in enumerate(("owl", "cat", "dog", "fox")):
            measured(
                "coverage_of_class_k5_euclidean", 0.1 * number, source, distribution="clip",
                **{"class": label},
            )  # fmt: skip
    html = page(rows, distribution="clip")
    text = text_of(html)
    assert "Images as the encoder clip sees them" in text
    assert "FID ↓ of 500 images" in text
    assert "12.35" in text
    assert "0.00123" in text
    assert "flow-g1-classname: owl 0.0 %, cat 10.0 %, dog 20.0 %" in text
    with pytest.raises(UserError, match="two rows for density"):
        page(rows)
