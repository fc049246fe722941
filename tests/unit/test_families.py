"""Every preset's family, tiny and randomly initialised, called with the preset's own arguments."""

import inspect
import itertools

import diffusers
import numpy as np
import pytest

import tiny_pipelines
from generator_options import generator_options
from synthgap.config.generators import arguments_of, presets
from synthgap.errors import UserError
from synthgap.generators import pipeline as pipelines
from synthgap.generators.generation import OutOfMemoryError, Tally, generate_resumably
from synthgap.generators.loading import call_arguments
from synthgap.generators.pipeline import TextToImage

SETTINGS = [(name, which) for name, preset in presets().items() for which in preset.settings]
LONG = "goldfish, " + "very " * 1200 + "small"
# Repeated and single prompts, short and long: what class names and captions come to.
ROWS = [
    {"key": str(i), "prompt": prompt, "seed": 100 + i}
    for i, prompt in enumerate(["goldfish", "shark", "goldfish", "a red bird on a stone", "shark"])
]


def options_of(name, which="authors", **keys):
    """The preset's options, as small as its tiny pipeline."""
    options = generator_options(preset=name, settings=which, dtype="float32", **keys)
    options["arguments"] |= tiny_pipelines.ARGUMENTS.get(name, {})
    side = tiny_pipelines.SIDE
    return options | {"steps": 2, "image_size": side, "stored_size": side}


def load(folder, options, rows=ROWS):
    prompts = [row["prompt"] for row in rows]
    repeated = {prompt for prompt in prompts if prompts.count(prompt) > 1}
    return TextToImage(folder, options, "cpu", repeated)


def test_tiny_pipelines_cover_the_presets():
    assert set(tiny_pipelines.PRESETS) >= set(presets())


@pytest.mark.parametrize("name", presets())
def test_preset_names_a_pipeline_that_takes_its_arguments(name):
    preset = presets()[name]
    accepted = inspect.signature(getattr(diffusers, preset.pipeline).__call__).parameters
    # What a config is checked against is read from the source, without an import.
    assert set(arguments_of(preset.pipeline)) == set(accepted) - {"self", "kwargs"}
    for settings in preset.settings.values():
        assert settings.arguments.keys() <= accepted.keys() - {"kwargs"}
        assert (settings.guidance_scale is None) == (preset.guidance_argument is None)
        assert settings.image_size % preset.size_multiple == 0
        if settings.scheduler:
            assert hasattr(diffusers, settings.scheduler)
    assert preset.guidance_argument is None or preset.guidance_argument in accepted


@pytest.mark.parametrize("name", presets())
def test_argument_that_the_class_does_not_take_is_refused(name):
    pipeline = getattr(diffusers, presets()[name].pipeline)
    options = options_of(name)
    options["arguments"] |= {"guidence_scale": 3.0}
    with pytest.raises(UserError, match=f"{pipeline.__name__} takes no argument `guidence_scale`"):
        call_arguments(pipeline, options)


@pytest.mark.parametrize(("name", "which"), SETTINGS)
def test_family_generates_resumes_and_repeats(tiny_pipeline, tmp_path, name, which):
    options = options_of(name, which)
    counter = itertools.count()

    def run(folder, stop_at=None):
        def start():
            model = load(tiny_pipeline(name), options)
            generate = model.generate

            def stopping(prompts, seeds):
                if next(counter) == stop_at:
                    raise KeyboardInterrupt
                return generate(prompts, seeds)

            model.generate = stopping
            return model

        return list(
            generate_resumably(
                ROWS, start, batch_size=2, size=tiny_pipelines.SIDE, image_format="png",
                folder=tmp_path / folder, tally=Tally(), attempts=1,
            )
        )  # fmt: skip

    undisturbed = run("a")
    assert [one.status for one in undisturbed] == ["ok"] * len(ROWS)
    assert len({one.image for one in undisturbed}) == len(ROWS)
    with pytest.raises(KeyboardInterrupt):
        run("b", stop_at=next(counter) + 2)
    assert run("b") == undisturbed


@pytest.mark.parametrize("name", presets())
def test_prompts_encoded_once_give_the_images_of_the_bare_call(tiny_pipeline, name):
    options = options_of(name)
    model = load(tiny_pipeline(name), options)
    assert type(model.pipeline).__name__ == presets()[name].pipeline
    prompts, seeds = [row["prompt"] for row in ROWS], [row["seed"] for row in ROWS]
    found = model.generate(prompts, seeds).pixels.astype(int)
    encode = model.pipeline.encode_prompt
    assert 1 <= len(encode.kept) <= 5
    model.pipeline.encode_prompt = encode.encode
    bare = model.generate(prompts, seeds).pixels.astype(int)
    # An encoder's last digits move with the size of its batch.
    assert np.abs(found - bare).max() <= 2
    # An image does not depend on the batch it rides in, but for last digits.
    model.pipeline.encode_prompt = encode
    alone = model.generate(prompts[3:4], seeds[3:4]).pixels.astype(int)
    assert np.abs(found[3] - alone[0]).max() <= 2
    other_prompt = model.generate(["goldfish"], seeds[3:4]).pixels.astype(int)
    assert np.abs(other_prompt - alone).max() > 2


@pytest.mark.parametrize("name", presets())
def test_prompt_that_is_too_long_is_noticed(tiny_pipeline, name):
    model = load(tiny_pipeline(name), options_of(name))
    batches = (["shark", LONG, "goldfish"], [LONG, LONG, "shark"])  # encoded together, and alone
    for prompts in batches:
        truncated = model.generate(prompts, [1, 2, 3]).truncated
        assert [bool(lost) for lost in truncated] == [len(text) > 100 for text in prompts]


@pytest.mark.parametrize("name", presets())
def test_tokens_cut_are_those_of_the_prompt(tiny_pipeline, name):
    """Each further word, of one token, is cut too, and nothing else counts."""
    model = load(tiny_pipeline(name), options_of(name), rows=[])
    shorter, longer = "goldfish" + " dog" * 1199, "dog" + " dog" * 1209
    # Encoded together, and one by one through the cache.
    for prompts in ([shorter, longer, "shark"], [shorter, longer, "shark", "shark"]):
        truncated = model.generate(prompts, range(len(prompts))).truncated
        assert truncated[0]
        assert {encoder: lost + 10 for encoder, lost in truncated[0].items()} == truncated[1]
        assert not any(truncated[2:])


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        # CLIP's two marks are within its 77 tokens, T5's one within its limit.
        ("sd15", {"tokenizer": 75}),
        ("sd30", {"tokenizer": 75, "tokenizer_2": 75, "tokenizer_3": 255}),
        # Behind its template, which has words after the prompt too.
        ("qwen", {"tokenizer": 512}),
        ("flux2-klein", {"tokenizer": 509}),  # 512 with the three tokens before the prompt
    ],
)
def test_prompt_is_cut_where_the_encoder_ends(tiny_pipeline, name, limits):
    model = load(tiny_pipeline(name), options_of(name))
    lengths = sorted({limit + more for limit in limits.values() for more in (0, 1, 30)})
    for n in lengths:
        cut = {encoder: n - limit for encoder, limit in limits.items() if n > limit}
        assert model.generate([" ".join(["dog"] * n)], [1]).truncated == [cut]


@pytest.mark.parametrize("name", [n for n, preset in presets().items() if preset.guidance_argument])
def test_guidance_is_read_under_the_name_that_the_preset_gives(tiny_pipeline, name):
    options = options_of(name)
    images = [
        load(tiny_pipeline(name), options | {"guidance_scale": scale})
        .generate(["shark"], [1])
        .pixels
        for scale in (1.5, 9.0)
    ]
    assert (images[0] != images[1]).any()


def test_text_encoders_run_once_for_each_repeated_prompt(tiny_pipeline):
    model = load(tiny_pipeline("pixart"), options_of("pixart"))
    seen = []
    model.pipeline.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(args[0])), with_kwargs=True
    )
    for start in (0, 2):
        model.generate(["shark", "goldfish"], [start, start + 1])
    assert seen == [1, 1, 1, 1]  # each with its empty prompt for guidance


def test_embeddings_kept_are_bounded(tiny_pipeline, monkeypatch):
    model = load(tiny_pipeline("sd15"), options_of("sd15"))
    monkeypatch.setattr("synthgap.generators.prompting.CACHE_BYTES", 15_000)
    cache = model.pipeline.encode_prompt
    model.generate(["shark", "goldfish", "shark", "goldfish"], [1, 2, 3, 4])
    assert len(cache.kept) == 1  # of 77 x 16 numbers of 4 bytes, with and without the prompt
    assert cache.bytes == 2 * 77 * 16 * 4


def test_largest_batch_is_found_by_halving(tiny_pipeline, monkeypatch):
    import torch

    model = load(tiny_pipeline("sd15"), options_of("sd15"))
    prompts = ["shark", "goldfish"] * 40
    assert model.largest_batch(prompts) == pipelines.ON_CPU
    assert model.largest_batch(prompts[:5]) == 5
    call, tried = model.pipeline.__class__.__call__, []

    def limited(self, prompt, **kwargs):
        tried.append((len(prompt), kwargs["num_inference_steps"]))
        if len(prompt) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(self, prompt=prompt, **kwargs)

    monkeypatch.setattr(type(model.pipeline), "__call__", limited)
    monkeypatch.setattr(model, "device", "cuda")
    assert model.largest_batch(prompts) == 8
    assert tried == [(64, 2), (32, 2), (16, 2), (8, 2)]


def test_memory_that_runs_out_within_a_call_leaves_the_pipeline_as_it_was(tiny_pipeline):
    """SDXL's decoder turns to float32 for its work, and only a whole call turns it back."""
    import torch

    options = options_of("sdxl") | {"dtype": "float16"}
    model = load(tiny_pipeline("sdxl"), options)
    model.pipeline.vae.register_to_config(force_upcast=True)
    before = model.generate(["shark", "goldfish"], [1, 2]).pixels
    decode, errors = model.pipeline.vae.decode, [torch.OutOfMemoryError("CUDA out of memory")]
    errors.append(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))

    def decode_or_fail(*args, **kwargs):
        if errors:
            raise errors.pop()
        return decode(*args, **kwargs)

    model.pipeline.vae.decode = decode_or_fail
    for _ in range(2):
        with pytest.raises(OutOfMemoryError):
            model.generate(["shark", "goldfish"], [1, 2])
        assert model.pipeline.vae.dtype == torch.float16
    assert (model.generate(["shark", "goldfish"], [1, 2]).pixels == before).all()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("sd15", {"image_size": 100}, "refuses what it is called with: .*divisible by 8"),
        ("flux-dev", {"image_size": 72}, "rendered 64 x 64 pixels where image_size asks for 72"),
        ("sd30", {"arguments": {"max_sequence_length": 9999}}, "refuses .*max_sequence_length"),
        ("qwen", {"channels_last": True}, "channels_last: .* leave it out"),
        ("qwen", {"guidance_argument": "guidance_scale"}, "guidance_argument: true_cfg_scale"),
        ("sd15", {"scheduler": "NoSuchScheduler"}, "no scheduler `NoSuchScheduler`"),
    ],
)
def test_what_does_not_suit_a_pipeline_is_said_in_one_sentence(tiny_pipeline, name, change, said):
    with pytest.raises(UserError, match=said):
        load(tiny_pipeline(name), options_of(name) | change).generate(["shark"], [1])


def test_pipeline_that_diffusers_does_not_have_is_named(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "TomorrowsPipeline"}')
    with pytest.raises(UserError, match=r"diffusers [\d.]+ has no TomorrowsPipeline"):
        load(tmp_path, options_of("sd15"))


def test_refused_and_black_images_are_failures(tiny_pipeline, monkeypatch):
    model = load(tiny_pipeline("sd15"), options_of("sd15"))
    call = model.pipeline.__class__.__call__

    def spoil(self, **kwargs):
        output = call(self, **kwargs)
        output.images[0] = 0.0
        output.images[1] = float("nan")
        output.nsfw_content_detected = [False, False, True, False]
        return output

    monkeypatch.setattr(type(model.pipeline), "__call__", spoil)
    failures = model.generate(["shark"] * 4, [1, 2, 3, 4]).failures
    assert failures[0] == "all pixels are black"
    assert "not a number" in failures[1]
    assert "safety checker" in failures[2]
    assert failures[3] is None


def test_an_infinity_is_no_white_pixel(tiny_pipeline, monkeypatch):
    model = load(tiny_pipeline("sd15"), options_of("sd15"))
    decode = model.pipeline.vae.decode

    def spoil(*args, **kwargs):
        output = decode(*args, **kwargs)
        output[0][1, 0, 0, 0] = float("inf")
        return output

    monkeypatch.setattr(model.pipeline.vae, "decode", spoil)
    good, bad = model.generate(["shark"] * 2, [1, 2]).failures
    assert good is None
    assert "not a number" in bad


@pytest.mark.parametrize("option", ["channels_last", "vae_slicing"])
def test_ways_to_save_time_and_memory_change_last_digits_only(tiny_pipeline, option):
    for name in ("sd15", "pixart"):
        plain = load(tiny_pipeline(name), options_of(name)).generate(["shark"] * 2, [1, 2])
        other = load(tiny_pipeline(name), options_of(name, **{option: True}))
        found = other.generate(["shark"] * 2, [1, 2]).pixels.astype(int)
        assert np.abs(found - plain.pixels).max() <= 1


def test_half_precision_weights_are_loaded_by_variant(tiny_pipeline, tmp_path):
    whole = diffusers.DiffusionPipeline.from_pretrained(tiny_pipeline("sd15"))
    whole.save_pretrained(tmp_path, variant="fp16")
    options = options_of("sd15") | {"variant": "fp16", "dtype": "bfloat16"}
    found = load(tmp_path, options).generate(["shark"], [1])
    assert found.failures == [None]
