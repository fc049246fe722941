"""What a bad config says."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from synthgap import config
from synthgap.config import about, generators
from synthgap.config.generators import presets
from synthgap.errors import UserError

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def test_default_is_valid():
    assert config.parse(DEFAULT).generators


def test_schema_file_is_current():
    """Run `make schema` when this fails."""
    written = json.loads((ROOT / "workflow" / "schemas" / "config.schema.json").read_text())
    assert written == config.json_schema()


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (["generatrs"], {}, "generatrs: unknown key; did you mean `generators`?"),
        (
            ["generators", "flow-g1", "guidence_scale"],
            3.0,
            "generators.flow-g1.guidence_scale: unknown key; did you mean `guidance_scale`?",
        ),
        (["generators", "flow-g1", "steps"], "12", "generators.flow-g1.steps: input should be a"),
        (
            ["generators", "flow-g1", "trained"],
            "flw",
            "no `flw` in this config; did you mean `flow`?",
        ),
        (["generators", "flow-g1", "model"], "x/y", "generators.flow-g1: give exactly one of"),
        (["generators", "g"], {"preset": "sdlx"}, "generators.g: no preset `sdlx`; did you mean"),
        (
            ["generators", "g"],
            {"preset": "flux-schnell", "guidance_scale": 3.0},
            "FLUX.1 [schnell] reads no guidance",
        ),
        (
            ["generators", "g"],
            {"preset": "sdxl", "arguments": {"negative_promt": "x"}},
            "StableDiffusionXLPipeline takes no `negative_promt`; did you mean `negative_prompt`?",
        ),
        (
            ["generators", "g"],
            {"preset": "flux-dev", "image_size": 520},
            "multiples of 16, not 520",
        ),
        (["generators", "g"], {"preset": "z-image", "settings": "paper"}, "newer than the paper"),
        (["generators", "g"], {"model": "a/b", "guidance_scale": 1.0}, "`steps` is missing"),
        (
            ["generators", "g"],
            {"model": "/no/such", "guidance_scale": 1.0, "steps": 2},
            "model: no folder /no/such",
        ),
        (
            ["generators", "g"],
            {"preset": "qwen", "settings": "paper", "guidance_scale": 4.0},
            "add `arguments: {negative_prompt: ' '}`",
        ),
        (
            ["generators", "g"],
            {"preset": "qwen", "arguments": {"negative_prompt": None}},
            "true_cfg_scale guides only with something to guide away from",
        ),
        (
            ["generators", "g"],
            {"preset": "qwen", "arguments": {"true_cfg_scale": 7.0}},
            "give `true_cfg_scale` as `guidance_scale`, once",
        ),
        (
            ["generators", "g"],
            {"preset": "sdxl", "guidance_argument": "true_cfg_scale"},
            "StableDiffusionXLPipeline takes no `true_cfg_scale`",
        ),
        (
            ["generators", "g"],
            {"preset": "sdxl", "trained": "flow"},
            "give exactly one of `preset`, `trained`, `edm` and `model`",
        ),
        (["generators", "flow-g1", "batch_size"], "big", "a whole number from 1, or `auto`"),
        (
            ["views", "low", "halfwidth"],
            3,
            "views.low.halfwidth: unknown key; did you mean `half_width`?",
        ),
        (
            ["views", "low", "kind"],
            "lowpass",
            "views.low.kind: no `lowpass`; did you mean `low_pass`?",
        ),
        (
            ["views", "low", "half_width"],
            3.5,
            "views.low.half_width: input should be a valid integer",
        ),
        (
            ["views", "band", "high"],
            1,
            "views.band: the lower end (2) must be below the upper one (1)",
        ),
        (["views", "rgb"], {"kind": "center_crop", "size": 9}, "views.rgb: `rgb` is the images"),
        (
            ["classifiers", "resnet", "recipe"],
            {"epoch": 3},
            "recipe.epoch: unknown key; did you mean `epochs`?",
        ),
        (["real", "dataset"], "imagefolder", "real: `folder` is needed"),
        (["real", "test_fraction"], 0.95, "real: val_fraction + test_fraction must leave"),
        (["composites"], ["thirds"], "composites.0: input should be 'half'"),
        (["views", "low", "half_width"], 17, "views.low: 17 is beyond Nyquist, 16 here"),
        (["views", "patches", "size"], 64, "views.patches: size 64 is larger than the image, 32"),
        (["real", "image_size"], 36, "trained_models.flow: its autoencoder and patch_size need"),
        (["results"], "my results", "results: string should match pattern"),
        (
            ["studies", "distinguish", "images_per_class", "val"],
            16,
            "images_per_class.val: 16 is more than the 15 of synthetic.samples_per_class",
        ),
        (["studies", "distinguish", "seeds"], [-1], "seeds.0: input should be greater than or"),
        (
            ["generators", "flow-g1", "arguments"],
            {"output_type": "pil"},
            "arguments: `output_type` is set by other keys",
        ),
        (
            ["classifiers", "resnet", "recipe", "warmup_epochs"],
            9,
            "warmup_epochs must not be above",
        ),
        (["studies", "transfer", "probes", "low", "view"], "lwo", "did you mean `low`?"),
        (["studies", "distinguish", "classifiers"], ["resnt"], "did you mean `resnet`?"),
        (
            ["image_sets"],
            {"x" * 196: {"folder": "data/x"}},
            "has 201 letters, and folders are named after comparisons",
        ),
        (
            ["studies", "distinguish", "axes"],
            {"samples": [400]},
            "axes.samples: 400 is more than the",
        ),
        (
            ["studies", "distinguish", "occlusion"],
            {"images": 251, "patch": 8, "stride": 4},
            "occlusion.images: 251 is more than the 250 test images of each distribution",
        ),
        (
            ["studies", "distinguish", "occlusion"],
            {"images": 8, "patch": 33, "stride": 4},
            "occlusion.patch: 33 is more than the 32 pixels of what resnet sees",
        ),
        (
            ["studies", "distinguish", "people"],
            {"pairs": 5000, "quizzes": [{"sources": ["real", "flow-g1-caption"]}]},
            "real+flow-g1-caption takes 5000 images of flow-g1-caption",
        ),
    ],
)
def test_bad_key_is_named(keys, value, said):
    raw = copy.deepcopy(DEFAULT)
    node = raw
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    with pytest.raises(UserError) as caught:
        config.parse(raw, "mine.yaml")
    assert "mine.yaml is not valid" in str(caught.value)
    assert said in str(caught.value)


def test_folder_must_hold_what_its_entry_says(tmp_path):
    def refusal(**entry):
        raw = copy.deepcopy(DEFAULT) | {"generators": {"g": {"model": str(tmp_path)} | entry}}
        with pytest.raises(UserError) as caught:
            config.parse(raw)
        return str(caught.value)

    call = {"steps": 2, "guidance_scale": 1.0}
    assert f"{tmp_path} is no pipeline: it has no model_index.json" in refusal(**call)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "holds a StableDiffusionPipeline, and sdxl is a Stable" in refusal(preset="sdxl")
    said = refusal(**call, arguments={"negative_prmpt": "x"})
    assert "StableDiffusionPipeline takes no `negative_prmpt`; did you mean `negative_" in said


def with_generators(**generators):
    raw = copy.deepcopy(DEFAULT) | {"generators": generators}
    del raw["studies"]["transfer"]["scaling"], raw["studies"]["mixing"]
    return config.parse(raw)


def test_preset_of_a_local_copy_keeps_its_settings(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    study = with_generators(
        copy={"preset": "flux-dev", "model": str(tmp_path)},
        mirror={"preset": "flux-dev", "model": "my-lab/flux"},
        plain={"preset": "flux-dev"},
    )
    local, mirror, plain = (study.generator_options(name) for name in study.generators)
    differ = {name for name in plain if local[name] != plain[name]}
    assert differ == {"model", "revision"}
    assert local["model"] == str(tmp_path)
    assert study.generators["copy"].hub_model is None
    assert (mirror["model"], mirror["revision"]) == ("my-lab/flux", None)


def test_half_precision_files_serve_half_precision_only():
    study = with_generators(a={"preset": "sdxl"}, b={"preset": "sdxl", "dtype": "float32"})
    assert [study.generator_options(name)["variant"] for name in "ab"] == ["fp16", None]
    assert [model.variant for model in study.hub_models.values()] == ["fp16", None]


def test_views_have_the_shards_of_synthetic_where_a_generator_has_more():
    raw = copy.deepcopy(DEFAULT)
    raw["synthetic"]["shards"] = {"train": 3, "val": 1, "test": 1}
    raw["generators"]["flow-g1"]["shards"] = {"train": 50, "val": 2, "test": 1}
    raw["generators"]["flow-g4"]["shards"] = {"train": 2, "val": 1, "test": 1}
    study = config.parse(raw)
    found = [
        [study.shards_of(source, view).train for view in ("rgb", "low")]
        for source in ("real", "flow-g1-caption", "flow-g4-caption")
    ]
    assert found == [[2, 2], [50, 3], [2, 2]]


def with_view(**view):
    raw = copy.deepcopy(DEFAULT) | {"views": DEFAULT["views"] | {"new": view}}
    return config.parse(raw).view_options("new")


@pytest.mark.parametrize(
    ("view", "found"),
    [
        ({"kind": "low_pass", "nyquist": 0.2}, {"half_width": 3, "encode": "clip"}),
        ({"kind": "high_pass", "nyquist": 0.2}, {"half_width": 3, "encode": "offset"}),
        (
            {"kind": "low_pass", "nyquist": 0.2, "settings": "code"},
            {"half_width": 3, "encode": "minmax", "mask": "rectangle"},
        ),
        (
            {"kind": "high_pass", "nyquist": 0.2, "settings": "code"},
            {"half_width": 12, "encode": "minmax", "mask": "rectangle"},  # of 1 - 0.2
        ),
        ({"kind": "band_pass", "low": 0, "high": 9}, {"low": 0, "high": 9, "encode": "clip"}),
        (
            {"kind": "band_pass", "nyquist": [0.2, 0.5]},
            {"low": 3, "high": 8, "encode": "offset"},
        ),
        ({"kind": "band_pass", "nyquist": [0.0, 0.5]}, {"low": 0, "high": 8, "encode": "clip"}),
        ({"kind": "random_crops", "size": 16}, {"count": 4, "codec": "webp"}),
    ],
)
def test_views_resolve_to_pixels_and_encodings(view, found):
    options = with_view(**view)
    assert options == options | found
    assert not {"nyquist", "settings"} & options.keys()


def test_the_code_of_paper_a_at_its_own_size():
    raw = copy.deepcopy(DEFAULT) | {"views": DEFAULT["views"]}
    raw["real"] = raw["real"] | {"image_size": 256}
    for kind, half_width in (("low_pass", 12), ("high_pass", 115)):
        raw["views"] = raw["views"] | {
            kind: {"kind": kind, "nyquist": 0.1, "settings": "code"},
        }
        assert config.parse(raw).view_options(kind)["half_width"] == half_width


def test_a_lossy_codec_is_told_with_a_number_and_a_lossless_one_is_not():
    raw = copy.deepcopy(DEFAULT)
    found = []
    for codec in ("jpeg", "png"):
        raw["views"]["low"] = {"kind": "patches", "size": 8, "codec": codec}
        found.append(about.probes(config.parse(raw))["low"]["view_options"])
    assert found == [
        {"kind": "patches", "size": 8, "codec": "jpeg"},
        {"kind": "patches", "size": 8},
    ]


def test_depth_models_come_from_presets_the_hub_and_folders(tmp_path):
    options = with_view(kind="depth")
    assert options["model"] == "depth-anything/Depth-Anything-V2-Large-hf"
    assert options["input_size"] == 518
    assert "threads" not in options
    assert with_view(kind="depth", model="lab/depth", revision="abc")["revision"] == "abc"
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    raw = copy.deepcopy(DEFAULT)
    raw["views"] |= {"hub": {"kind": "depth"}, "own": {"kind": "depth", "model": str(tmp_path)}}
    study = config.parse(raw)
    assert set(study.depth_views) == {"hub", "own"}
    [download] = study.hub_models.values()
    assert download.layout == "model"
    assert download.name == "depth-anything--Depth-Anything-V2-Large-hf--7581137e"


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ({"kind": "low_pass"}, "give either `half_width` or `nyquist`"),
        ({"kind": "low_pass", "half_width": 3, "nyquist": 0.1}, "give either"),
        ({"kind": "low_pass", "nyquist": 0.01}, "under one pixel at a side of 32"),
        ({"kind": "low_pass", "nyquist": 1.5}, "views.new.nyquist: input should be less"),
        ({"kind": "high_pass", "half_width": 3, "codec": "jpeg"}, "views.new.codec: input should"),
        ({"kind": "high_pass", "half_width": 3, "settings": "code"}, "takes `nyquist` alone"),
        ({"kind": "high_pass", "nyquist": 1.0, "settings": "code"}, "which is 0 here"),
        ({"kind": "band_pass", "low": 9, "high": 4}, "the lower end (9) must be below the upper"),
        ({"kind": "band_pass", "nyquist": [0.5, 0.2]}, "the lower end (0.5) must be below"),
        ({"kind": "band_pass", "nyquist": [0.5, 0.51]}, "is an empty band at a side of 32"),
        ({"kind": "band_pass", "low": 2}, "give either `low` and `high`, or `nyquist`"),
        ({"kind": "band_pass", "low": 2, "high": 17}, "17 is beyond Nyquist, 16 here"),
        ({"kind": "random_crops", "size": 33}, "size 33 is larger than the image, 32"),
        ({"kind": "depth", "model": "depth-anything-v3"}, "no depth model `depth-anything-v3`"),
        ({"kind": "depth", "model": "a/b/c"}, "no depth model `a/b/c`; known: depth-anything-v2"),
        ({"kind": "depth", "model": "./nothing"}, "it has no config.json (~ is not known)"),
        ({"kind": "depth", "model": "~/depth"}, "it has no config.json (~ is not known)"),
        ({"kind": "high_pass", "half_width": 16}, "a half-width of 16 leaves nothing of 32 pixels"),
        ({"kind": "high_pass", "nyquist": 0.97, "settings": "code"}, "cuts high_pass at 0.03 of"),
        ({"kind": "depth", "input_size": 500}, "multiple of 14"),
        ({"kind": "depth", "normalise": "metric"}, "`max_depth` is needed with"),
        ({"kind": "depth", "max_depth": 20.0}, "`max_depth` is needed with"),
        ({"kind": "depth", "bits": 16, "codec": "webp"}, "16 bits need `codec: png`"),
        (
            {"kind": "depth", "estimator": "distance-transform", "input_size": 518},
            "`input_size` is of the estimator depth-anything",
        ),
    ],
)
def test_views_that_cannot_be_are_refused_in_one_line(view, said):
    with pytest.raises(UserError) as caught:
        with_view(**view)
    [_, line] = str(caught.value).splitlines()
    assert said in line


def test_axes_are_of_known_sources():
    raw = copy.deepcopy(DEFAULT)
    raw["studies"]["mixing"]["sources"] = ["real"]
    with pytest.raises(UserError, match=r"studies\.mixing\.sources: no `real` in this config"):
        config.parse(raw)


def test_ratios_that_take_more_images_than_are_made_are_refused():
    raw = copy.deepcopy(DEFAULT)
    del raw["real"]["val_fraction"], raw["real"]["test_fraction"]
    raw["real"]["images_per_class"] = {"train": 100, "val": 20, "test": 60}
    raw["studies"]["mixing"]["augment"] = [1.0]
    assert config.parse(raw)
    raw["studies"]["mixing"]["augment"] = [1.5]
    with pytest.raises(UserError, match="takes 150 images of each class, and synthetic"):
        config.parse(raw)


FEW = {"rand_augment": 3.0, "labels_per_class": 4, "semi_supervised": {"method": "flexmatch"}}


def test_few_labels_are_studied_by_a_recipe_that_takes_them():
    raw = copy.deepcopy(DEFAULT)
    raw["studies"]["semi_supervised"] = {"augment": [0.5], "classifier": "resnet"}
    with pytest.raises(
        UserError, match=r"semi_supervised\.classifier: .* has no `semi_supervised`"
    ):
        config.parse(raw)
    raw["classifiers"]["few"] = copy.deepcopy(raw["classifiers"]["bagnet"])
    raw["classifiers"]["few"]["recipe"] |= FEW
    raw["studies"]["semi_supervised"]["classifier"] = "few"
    parsed = config.parse(raw)
    assert "few" in parsed.used_classifiers
    told = [one for one in about.points(parsed) if one["study"] == "semi_supervised"]
    assert {one["classifier"] for one in told} == {"few"}
    assert {one["settings"]["method"] for one in told} == {"flexmatch"}
    added = [one["dataset"] for one in told if one["settings"]["synthetic_ratio"] == 0.5]
    assert [parsed.blends[name].given for name in added] == [(name,) for name in parsed.sources]


def test_several_classifiers_learn_from_mixtures_each_at_each_point():
    raw = copy.deepcopy(DEFAULT)
    one = len(about.points(config.parse(raw)))
    raw["studies"]["mixing"]["classifier"] = ["resnet", "bagnet", "resnet"]
    parsed = config.parse(raw)
    of_mixing = [point for point in about.points(parsed) if point["study"] == "mixing"]
    assert len(about.points(parsed)) == one + len(of_mixing) / 2
    assert [point["classifier"] for point in of_mixing[:2]] == ["resnet", "bagnet"]
    assert of_mixing[0] | {"classifier": "bagnet"} == of_mixing[1]
    raw["studies"]["mixing"]["classifier"] = ["resnet", "bagnt"]
    with pytest.raises(UserError, match="did you mean `bagnet`"):
        config.parse(raw)


def test_more_labels_than_images_are_refused():
    raw = copy.deepcopy(DEFAULT)
    del raw["real"]["val_fraction"], raw["real"]["test_fraction"]
    raw["real"]["images_per_class"] = {"train": 100, "val": 20, "test": 60}
    raw["classifiers"]["resnet"]["recipe"]["labels_per_class"] = 101
    with pytest.raises(UserError, match="101 is more than the 100 images of each class"):
        config.parse(raw)


def test_missing_key_is_named():
    raw = {key: value for key, value in DEFAULT.items() if key != "real"}
    with pytest.raises(UserError, match="real: missing"):
        config.parse(raw)


def test_example_of_the_readme_is_valid():
    readme = (ROOT / "README.md").read_text()
    example = readme.split("```yaml\n")[1].split("```")[0]
    study = config.parse(yaml.safe_load(example), "README.md")
    assert list(study.sources) == ["sd15-classname", "mine-classname"]


def test_every_preset_is_documented():
    documented = (ROOT / "docs" / "adding-a-generator.md").read_text()
    for name, preset in presets().items():
        lines = [line for line in documented.splitlines() if line.startswith(f"| `{name}` |")]
        assert len(lines) == 1, f"no row of {name} in docs/adding-a-generator.md"
        [line] = lines
        authors = preset.settings["authors"]
        for fact in (preset.title, preset.model, preset.released, authors.steps):
            assert str(fact) in line
        assert ("(gated)" in line) == preset.gated
    example = documented.split("```yaml\n")[1].split("```")[0]
    for entry in yaml.safe_load(example)["generators"].values():
        if not entry.get("model", "").startswith("/"):  # a folder that a reader would have
            generators.Generator.model_validate(entry)


def test_every_option_is_documented():
    documented = (ROOT / "config" / "README.md").read_text()
    schema = config.json_schema()
    for section in [schema, *schema["$defs"].values()]:
        for key in section.get("properties", {}):
            named = f"`{key}`" in documented or f"{key}:" in documented
            assert named or key in ("train", "val", "test"), key
