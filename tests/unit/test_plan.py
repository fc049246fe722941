"""What the plan makes of speeds, shards and what was measured."""

import copy
from pathlib import Path

import pytest
import yaml

from synthgap.config import parse
from synthgap.config.generators import presets
from synthgap.config.views import depth_models
from synthgap.planning.plan import Plan, wall_hours
from synthgap.planning.rows import Measured, Row, speeds

STUDY = yaml.safe_load(
    (Path(__file__).parents[2] / "config" / "studies" / "transfer.yaml").read_text()
)
REAL = {"train": 100_000, "val": 10_000, "test": 10_000}


def planned(generators, measured=None, real=REAL, **changes):
    raw = copy.deepcopy(STUDY) | changes | {"generators": generators}
    rows = Plan(parse(raw), measured or {}, classes=200, real=real).rows()
    return {(row.stage, row.what): row for row in rows}


def generation(entry, **changes):
    return planned({"g": entry}, **changes)["generate_images", "g-classname"]


def test_every_preset_has_a_speed_with_its_source():
    assert speeds()["generate_images"].keys() == presets().keys()
    for stage in speeds().values():
        for entry in stage.values():
            assert entry["basis"] in ("published", "estimated", "measured")
            assert entry["images_per_second"] > 0
            assert len(entry["source"]) > 10
            assert entry["device"]


def test_depth_costs_the_pixels_of_the_networks_input():
    known = speeds()["estimate_depth"]
    assert known.keys() == depth_models().keys()
    rows = planned({"g": {"preset": "sdxl"}})
    depth = rows["estimate_depth", "depth"]
    assert depth.images == 120_000 + 2 * 200 * 600
    speed = known["depth-anything-v2-large"]["images_per_second"]
    assert depth.hours == pytest.approx(depth.images / speed / 3600)
    assert depth.jobs == 12 + 2 * 4  # real images, and two kinds of prompt
    half = {("estimate_depth", "depth"): Measured({"train": 10})}
    left = planned({"g": {"preset": "sdxl"}}, half)["estimate_depth", "depth"]
    assert left.hours == pytest.approx(depth.hours / 2)
    small = STUDY["views"] | {"depth": {"kind": "depth", "input_size": 252}}
    smaller = planned({"g": {"preset": "sdxl"}}, views=small)["estimate_depth", "depth"]
    assert smaller.hours == pytest.approx(depth.hours * (252 / 518) ** 2)


def test_unlabelled_images_pass_twice_in_an_epoch():
    network = {"architecture": {"family": "timm", "name": "resnet50"}, "recipe": {"epochs": 2}}
    few = {"rand_augment": 3.0, "labels_per_class": 4}
    method = {"semi_supervised": {"method": "freematch", "unlabelled_ratio": 4}}
    transfer = {"probes": {"rgb": {"view": "rgb", "classifier": "all"}}}
    classifiers = {
        "all": network,
        "few": network | {"recipe": {"epochs": 2, **few}},
        "half": network | {"recipe": {"epochs": 2, **few, **method}},
    }
    seen = {}
    for name in classifiers:
        transfer["probes"]["rgb"]["classifier"] = name
        rows = planned(
            {"g": {"preset": "sdxl"}}, classifiers=classifiers, studies={"transfer": transfer}
        )
        seen[name] = rows["train_classifier", name].images
    trainings = rows["train_classifier", "half"].jobs
    assert seen["few"] == 2 * trainings * 200 * 4
    assert seen["half"] == pytest.approx(2.25 * seen["all"])


def test_crops_are_counted_and_are_as_small_as_they_are():
    crops = {"kind": "random_crops", "size": 64, "count": 4}
    views = {
        "low": {"kind": "patches", "size": 64},
        "high": crops,
        "depth": STUDY["views"]["depth"],
    }
    rows = planned({"g": {"preset": "sdxl"}}, views=views)
    patches, crops = rows["derive_view", "low"], rows["derive_view", "high"]
    assert crops.images == 4 * patches.images
    assert crops.gb == pytest.approx(patches.gb * 4 / 16)
    # Of five probes of three seeds, four of the resnet50's see an image once and one four times.
    usual = planned({"g": {"preset": "sdxl"}})["train_classifier", "resnet50"]
    assert rows["train_classifier", "resnet50"].images > 1.5 * usual.images


def test_hours_scale_with_steps_and_pixels():
    known = speeds()["generate_images"]["sdxl"]
    same = generation({"preset": "sdxl", "steps": known["steps"]})
    assert same.images == 200 * (500 + 50 + 50)
    assert same.hours == pytest.approx(same.images / known["images_per_second"] / 3600)
    half = generation({"preset": "sdxl", "steps": known["steps"] // 2, "image_size": 512})
    assert half.hours == pytest.approx(same.hours / 8)
    assert half.longest == pytest.approx(50_000 / half.images * half.hours)


def test_binned_sizes_cost_what_is_rendered():
    full = generation({"preset": "pixart"})
    shrunk = generation({"preset": "pixart", "image_size": 512})
    assert shrunk.hours == full.hours
    plain = {"preset": "pixart", "image_size": 512, "arguments": {"use_resolution_binning": False}}
    assert generation(plain).hours == pytest.approx(full.hours / 4)


def test_what_was_measured_takes_the_place_of_the_table():
    found = Measured({"train": 2, "val": 1}, 9.9, 2.0, "NVIDIA H200", bytes_an_image=50_000)
    row = generation(
        {"preset": "sdxl", "shards": {"train": 8, "val": 1, "test": 1}},
        measured={("generate_images", "g-classname"): found},
    )
    assert (row.basis, row.device, row.jobs, row.done) == ("measured", "NVIDIA H200", 10, 3)
    assert row.hours == pytest.approx((6 / 8 * 100_000 + 10_000) / 2.0 / 3600)
    assert row.longest == pytest.approx(12_500 / 2.0 / 3600)
    assert row.gb == pytest.approx(120_000 * 50_000 / 1e9)


def test_unknown_speeds_stay_unknown_until_something_was_measured():
    rows = planned({"g": {"model": "lab/new", "steps": 4, "guidance_scale": 1.0}})
    assert rows["generate_images", "g-classname"].hours is None
    assert rows["download_model", "lab/new"].gb is None
    key = ("train_classifier", "bagnet33")
    assert rows[key].hours is None
    measured = {key: Measured({"": 2}, 1.5, device="cpu")}
    row = planned({"g": {"preset": "sdxl"}}, measured)[key]
    assert row.hours == pytest.approx((row.jobs - 2) * 1.5)


def test_shards_that_take_too_long_are_pointed_out():
    entry = {"preset": "flux-dev", "shards": {"train": 9, "val": 1, "test": 1}}
    said, better = generation(entry).note.split(" h a shard; half an hour with shards: ")
    assert float(said) > 1
    better = generation(entry | {"shards": yaml.safe_load(better)})
    assert better.note == ""
    assert 0.4 < better.longest <= 0.5


def test_guidance_takes_a_second_pass():
    guided = generation({"preset": "sdxl"})
    assert generation({"preset": "sdxl", "guidance_scale": 1.0}).hours == guided.hours / 2
    qwen = generation({"preset": "qwen", "image_size": 512})
    assert generation({"preset": "qwen", "settings": "paper"}).hours == pytest.approx(
        qwen.hours / 2
    )
    turbo = generation({"preset": "z-image-turbo"})
    assert generation({"preset": "z-image-turbo", "guidance_scale": 0.5}).hours == 2 * turbo.hours
    flux = generation({"preset": "flux-dev"})
    assert generation({"preset": "flux-dev", "guidance_scale": 9.0}).hours == flux.hours
    true_cfg = {"true_cfg_scale": 4.0, "negative_prompt": " "}
    assert generation({"preset": "flux-dev", "arguments": true_cfg}).hours == 2 * flux.hours


def test_one_download_for_two_generators_of_a_model():
    rows = planned({"a": {"preset": "sdxl"}, "b": {"preset": "sdxl", "guidance_scale": 9.0}})
    downloads = [row for (stage, _), row in rows.items() if stage == "download_model"]
    [download, depth, captioner, clip, dinov2] = downloads
    assert (captioner.gb, clip.gb, dinov2.gb) == (16.7, 1.71, 1.22)
    assert clip.what == "openai/clip-vit-large-patch14"
    assert depth.what == "depth-anything/Depth-Anything-V2-Large-hf"
    assert depth.gb == depth_models()["depth-anything-v2-large"].download_gb
    assert download.what == "stabilityai/stable-diffusion-xl-base-1.0 fp16"
    assert download.gb == presets()["sdxl"].download_gb
    [gated] = [
        row for row in planned({"a": {"preset": "flux-dev"}}).values() if "gated" in row.note
    ]
    assert f"https://huggingface.co/{presets()['flux-dev'].model}, set HF_TOKEN" in gated.note


def test_wall_hours_are_bounded_by_the_longest_job():
    def row(jobs, hours, device="H100"):
        return Row("generate_images", "x", jobs, device=device, hours=jobs * hours, longest=hours)

    rows = [row(10, 1.0), row(2, 3.0), row(100, 9.0, "cpu")]
    assert wall_hours(rows, 4) == pytest.approx(16 / 4)
    assert wall_hours(rows, 64) == pytest.approx(3.0)
    assert wall_hours([row(3, 1.0, "cpu")], 4) == 0.0
    # One large shard and two small ones: more GPUs than shards help nothing.
    few = generation({"preset": "flux-dev", "shards": {"train": 1, "val": 1, "test": 1}})
    assert wall_hours([few], 1000) == pytest.approx(few.hours * 100 / 120)


def captions(captioner, measured=None, **changes):
    captioner = {"prompt": "paper-a", **captioner}
    rows = planned({"g": {"preset": "sdxl"}}, measured, captioner=captioner, **changes)
    return {stage: row for (stage, _), row in rows.items() if "caption" in stage}


SERVICE = {"kind": "service", "model": "m", "concurrency": 30, "price": {"input": 2, "output": 8}}


def test_a_service_costs_tokens_money_and_hours():
    row = captions(SERVICE)["caption_images"]
    assert (row.jobs, row.images) == (12, 120_000)
    # 8 x 8 patches of 32 px, 17 words of 1.3 tokens; 200 tokens at most come back.
    assert row.input_tokens == pytest.approx((64 + 1.3 * 17) * 120_000, rel=0.02)
    assert row.output_tokens == 200 * 120_000
    assert row.usd == pytest.approx((row.input_tokens * 2 + row.output_tokens * 8) / 1e6)
    assert row.hours == pytest.approx(120_000 / 10 / 3600)  # 30 at once, 3 s each
    assert not row.on_gpu
    assert captions(SERVICE | {"price": None})["caption_images"].usd is None


def test_finished_captions_tell_what_the_others_cost():
    known = Measured({"train": 4}, tokens=(300.0, 50.0), seconds_a_reply=1.5)
    row = captions(SERVICE, {("caption_images", "m"): known})["caption_images"]
    assert (row.done, row.basis) == (4, "measured")
    assert (row.input_tokens, row.output_tokens) == (300 * 80_000, 50 * 80_000)
    assert row.usd == pytest.approx((300 * 2 + 50 * 8) * 80_000 / 1e6)
    assert row.hours == pytest.approx(80_000 / 20 / 3600)


def test_a_batch_costs_half_and_its_windows():
    alone = captions(SERVICE)["caption_images"]
    rows = captions(SERVICE | {"batch": {"requests": 1000, "open": 30}})
    assert rows["caption_images"].usd == pytest.approx(alone.usd / 2)
    assert rows["request_captions"].hours == 4 * 24  # 100 files, 30 at once
    by_bytes = captions(SERVICE | {"batch": {"megabytes": 50, "open": 100}})["request_captions"]
    assert by_bytes.hours == 3 * 24  # some 400 images of 123 kB a file


def test_a_model_of_ones_own_takes_gpu_hours():
    pruned = {"kind": "transformers", "prune": True}
    row = captions(pruned)["caption_images"]
    known = speeds()["caption_images"]["llava-next-llama3-8b"]
    assert row.hours == pytest.approx(120_000 / known["images_per_second"] / 3600)
    assert row.on_gpu
    assert row.usd is None
    whole = captions({"kind": "transformers"})["caption_images"]
    large = captions({"kind": "transformers", "image_size": 672})["caption_images"]
    assert row.hours < whole.hours < large.hours
    assert row.input_tokens < whole.input_tokens < large.input_tokens
    found = {("caption_images", "llava-next-llama3-8b"): Measured(
        {"train": 5}, images_per_second=8.0, device="cuda", tokens=(600, 90)
    )}  # fmt: skip
    left = captions(pruned, found)["caption_images"]
    assert left.hours == pytest.approx(70_000 / 8 / 3600)
    assert left.output_tokens == 90 * 70_000


def test_composites_are_counted_where_they_are_captioned():
    rows = planned(
        {"g": {"preset": "sdxl"}}, composites=["half", "all"],
        captioner=SERVICE | {"prompt": "paper-b", "composites": True},
    )  # fmt: skip
    sources = [what for stage, what in rows if stage == "caption_images"]
    assert sources == ["m", "m, cutmix-half", "m, cutmix-all"]


def test_storage_of_latents_and_texts_is_told():
    path = Path(__file__).parents[2] / "config" / "studies" / "text-to-image.yaml"
    config = parse(yaml.safe_load(path.read_text()))

    def stored(real):
        rows = {(row.stage, row.what): row for row in Plan(config, {}, 1000, real).rows()}
        return rows["encode_latents", "sd"].gb, rows["encode_texts", "t5"].gb

    latents, texts = stored({"train": 1_000_000})
    # Of images and as many composites: 4 x 32 x 32 twice, and 150 words of 2048, two bytes each.
    assert latents == pytest.approx(2 * 1e6 * 2 * 4096 * 2 / 1e9)
    assert texts == pytest.approx(2 * 1e6 * 150 * 2048 * 2 / 1e9, rel=0.01)
    assert stored({}) == (None, None)
