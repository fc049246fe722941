"""Vision-language models against transformers' own way, on small ones with random weights."""

import json
import logging
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from synthgap.captioners import Picture, load_captioner
from synthgap.captioners.vision_language import VisionLanguageCaptioner
from synthgap.data.images import encode
from synthgap.errors import UserError
from tiny_llava import build

TOKENS = 8
PROMPT = "Describe this {class_name}"
# The sides decide how many tiles there are, and where they are padded.
SHAPES = [(100, 100), (90, 110), (110, 80), (60, 150), (200, 70), (40, 40), (57, 170)]
CORNERS = [(top, left, 0.5, 0.5) for top in (0.0, 0.5) for left in (0.0, 0.5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("llava-next"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Of a family without tiles."""
    return build(tmp_path_factory.mktemp("llava"), "llava")


@pytest.fixture(scope="module")
def whole(folder):
    return captioner(folder)


@pytest.fixture(scope="module")
def pruned(folder):
    return captioner(folder, prune=True)


def captioner(folder, **settings):
    return VisionLanguageCaptioner(
        folder, **{"prompt": PROMPT, "max_new_tokens": TOKENS} | settings
    )


def picture(height=100, width=100, box=None, class_name="goldfish", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(f"{seed}", class_name, "", lambda: encode(pixels, "png"), box=box)


def pictures():
    """Pictures of several sizes, boxes and prompts."""
    boxes = [None, *CORNERS, (0.5, 0.0, 0.5, 1.0), (0.1, 0.7, 0.25, 0.25)]
    names = ["hen", "great white shark", "a", "tench", "red, red bird on a table", "owl", "b"]
    return [
        picture(*shape, box, name, seed)
        for seed, (shape, box, name) in enumerate(zip(SHAPES, boxes, names, strict=True))
    ]


def by_transformers(folder, one, prompt=PROMPT, **arguments):
    """What transformers alone makes of a picture: the inputs, and the tokens that are added."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    asked = {"type": "text", "text": prompt.replace("{class_name}", one.class_name)}
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, asked]}], add_generation_prompt=True
    )
    inputs = processor(
        images=Image.fromarray(one.pixels()),
        text=text,
        add_special_tokens=False,
        return_tensors="pt",
    )
    arguments = {"do_sample": False, "max_new_tokens": TOKENS} | arguments
    output = model.generate(**inputs, **arguments)
    made = output[0, inputs["input_ids"].shape[1] :]
    return model, inputs, made, processor.tokenizer.decode(made, skip_special_tokens=True)


@contextmanager
def watched(model):
    """The token ids of a forward pass, what the language model gets, and the tower's batches."""
    seen = {"ids": [], "embeddings": [], "tiles": []}
    tower = model.model.vision_tower
    hooks = [
        model.register_forward_pre_hook(
            lambda module, args, kwargs: seen["ids"].append(kwargs["input_ids"]), with_kwargs=True
        ),
        model.model.language_model.register_forward_pre_hook(
            lambda module, args, kwargs: seen["embeddings"].append(kwargs["inputs_embeds"]),
            with_kwargs=True,
        ),
        tower.register_forward_pre_hook(lambda module, args: seen["tiles"].append(len(args[0]))),
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def image_tokens(model, some):
    """The embeddings that reach the language model of each picture, and those of the texts."""
    with watched(model.model) as seen:
        model.caption(some)
    token = model.model.config.image_token_id
    rows = list(zip(seen["ids"][0], seen["embeddings"][0], strict=True))
    return [each[ids == token] for ids, each in rows], [each[ids != token] for ids, each in rows]


def origins(model, one):
    """Where transformers takes each token of the packed form from: (tile, row, column), or -1."""
    inner = model.model.model
    inputs = model._inputs([one], [Image.fromarray(one.pixels())])
    side = inner.config.vision_config.image_size // 14
    tiles = len(inputs["pixel_values"][0])
    grid = torch.cartesian_prod(torch.arange(tiles), torch.arange(side), torch.arange(side))
    [packed], _ = inner.pack_image_features(
        [grid.view(tiles, side**2, 3)], inputs["image_sizes"], "default", torch.tensor([-1] * 3)
    )
    return packed, side**2


def tile_of(model, one):
    """The number of the tile that shows most of a picture's box."""
    height, width = one.pixels().shape[:2]
    top, left, *sides = one.box
    image = np.zeros((height, width, 3), np.uint8)
    rows = slice(round(top * height), round((top + sides[0]) * height))
    columns = slice(round(left * width), round((left + sides[1]) * width))
    image[rows, columns] = 255
    shown = model.processor.image_processor(Image.fromarray(image), return_tensors="pt")
    return int(shown["pixel_values"][0, 1:].sum(dim=(1, 2, 3)).argmax())


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_box_the_tokens_are_those_of_the_base_image(whole, pruned, shape):
    [packed], [text] = image_tokens(whole, [picture(*shape)])
    [kept], [same_text] = image_tokens(pruned, [picture(*shape)])
    assert len(kept) == 16 < len(packed)
    torch.testing.assert_close(kept, packed[:16], atol=1e-5, rtol=1e-5)
    assert (text == same_text).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_with_a_small_box_the_tokens_of_its_tile_are_added(whole, pruned, shape):
    found = set()
    for box in [*CORNERS, (0.1, 0.7, 0.25, 0.25), (0.66, 0.1, 0.33, 0.33)]:
        one = picture(*shape, box)
        [packed], _ = image_tokens(whole, [one])
        [kept], _ = image_tokens(pruned, [one])
        where, base = origins(whole, one)
        tile = tile_of(whole, one)
        # Its own tokens, each row's last one followed by the newline.
        expected = list(range(base))
        for row in range(4):
            of_row = (where[:, 0] == tile + 1) & (where[:, 1] == row)
            of_row[:base] = False
            expected += of_row.nonzero()[:, 0].tolist()
            if of_row.any():
                newlines = (where[:, 0] == -1).nonzero()[:, 0]
                expected.append(int(newlines[newlines > expected[-1]][0]))
        assert base < len(expected) < len(packed)
        torch.testing.assert_close(kept, packed[expected], atol=1e-5, rtol=1e-5)
        found.add(tile)
    if shape in ((100, 100), (90, 110), (110, 80)):
        assert found == {0, 1, 2, 3}
    assert len(found) > 1


def test_tokens_of_the_usual_tiles(pruned, whole):
    """Of a square image of 2 x 2 tiles, each tile is 4 x 4 tokens and 4 newlines."""
    base_only = pruned.caption([picture()])[0].input_tokens
    with_tile = pruned.caption([picture(box=CORNERS[0])])[0].input_tokens
    everything = whole.caption([picture()])[0].input_tokens
    assert with_tile - base_only == 4 * 4 + 4
    assert everything - base_only == 8 * 8 + 8


@pytest.mark.parametrize(
    "box", [None, (0.5, 0.0, 0.5, 1.0), (0.0, 0.5, 1.0, 0.5), (0.0, 0.0, 0.51, 0.2)]
)
def test_of_a_half_the_base_image_is_all(pruned, box):
    [kept], _ = image_tokens(pruned, [picture(box=box)])
    assert len(kept) == 16


@pytest.mark.parametrize("batch_size", [1, 8])
def test_only_the_tiles_that_are_used_pass_the_vision_tower(folder, whole, batch_size):
    some = pictures()
    model = captioner(folder, prune=True, batch_size=batch_size)
    with watched(model.model) as seen:
        model.caption(some)
    used = [1, 2, 2, 2, 2, 1, 2]
    assert seen["tiles"] == (used if batch_size == 1 else [sum(used)])
    with watched(whole.model) as seen:
        whole.caption(some[:1])
    assert seen["tiles"] == [5]


def test_pruned_captions_are_those_of_embeddings_merged_by_hand(pruned, whole):
    some = pictures()
    model, tokens = whole.model, whole.tokenizer
    expected = []
    for one in some:
        inputs = whole._inputs([one], [Image.fromarray(one.pixels())])
        with torch.no_grad():
            packed = model.get_image_features(inputs["pixel_values"], inputs["image_sizes"])
        where, base = origins(whole, one)
        keep = torch.arange(len(where)) < base
        if one.box and max(one.box[2:]) <= 0.5:
            keep |= where[:, 0] == tile_of(whole, one) + 1
            newline = where[:, 0] == -1
            # A newline belongs to the tokens of its own row, whichever tile they are of.
            row = newline.cumsum(0) - newline.long()
            keep |= newline & torch.isin(row, row[keep & (torch.arange(len(where)) >= base)])
        ids = inputs["input_ids"][0]
        image = (ids == model.config.image_token_id).nonzero()[:, 0]
        embedded = model.get_input_embeddings()(ids)
        merged = torch.cat(
            [embedded[: image[0]], packed.pooler_output[0][keep], embedded[image[-1] + 1 :]]
        )
        made = model.generate(inputs_embeds=merged[None], do_sample=False, max_new_tokens=TOKENS)
        expected.append(tokens.decode(made[0], skip_special_tokens=True))
    assert [reply.text for reply in pruned.caption(some)] == expected
    assert len(set(expected)) == len(some)  # a model that says the same of all would prove nothing


def test_pruning_changes_what_is_said(pruned, whole):
    some = pictures()
    texts = [[reply.text for reply in model.caption(some)] for model in (pruned, whole)]
    assert all(a != b for a, b in zip(*texts, strict=True))


@pytest.mark.parametrize("prune", [False, True])
def test_a_picture_does_not_depend_on_its_batch(folder, prune):
    model = captioner(folder, prune=prune)
    some = pictures()
    together = model.caption(some)
    alone = [model.caption([one])[0] for one in some]
    assert [r.text for r in together] == [r.text for r in alone]
    assert [r.input_tokens for r in together] == [r.input_tokens for r in alone]
    assert len({reply.input_tokens for reply in together}) > 4


def test_captions_are_what_transformers_alone_gives(folder, whole):
    some = pictures()
    for one, reply in zip(some, whole.caption(some), strict=True):
        _, inputs, made, text = by_transformers(folder, one)
        assert reply.text == text
        assert reply.input_tokens == inputs["input_ids"].shape[1]
        assert reply.output_tokens == len(made) == TOKENS
        assert (reply.finish, reply.attempts, reply.cost_usd) == ("length", 1, None)
        assert reply.model == str(folder)


def test_another_family_is_asked_in_the_same_way(other):
    some = pictures()
    replies = captioner(other).caption(some)
    assert [r.text for r in replies] == [by_transformers(other, one)[3] for one in some]
    assert len({reply.text for reply in replies}) == len(some)


@pytest.mark.parametrize(
    ("change", "base"),
    [({"side": 28, "speaker": "mistral"}, 4), ({"tower": "siglip"}, 16), ({"layer": [-3, -1]}, 16),
     ({"layer": 1}, 16)],
)  # fmt: skip
def test_the_tokens_are_of_the_layers_and_strategy_of_the_config(tmp_path, change, base):
    folder = build(tmp_path / "model", **change)
    one = picture(box=CORNERS[3])
    [packed], _ = image_tokens(captioner(folder), [one])
    model = captioner(folder, prune=True)
    [kept], _ = image_tokens(model, [one])
    torch.testing.assert_close(kept[:base], packed[:base], atol=1e-5, rtol=1e-5)
    # The last row of the last tile, and its newline, end the packed form as well.
    last = int(base**0.5) + 1
    torch.testing.assert_close(kept[-last:], packed[-last:], atol=1e-5, rtol=1e-5)
    assert len(kept) == 2 * base + int(base**0.5)


def test_seconds_are_the_batchs_share(whole, monkeypatch):
    times = iter([10.0, 16.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    assert [reply.seconds for reply in whole.caption(pictures()[:3])] == [2.0] * 3


def test_a_text_ends_at_the_first_end_token(folder, tmp_path):
    """Here the end is a token that the model happens to say; sampling is asked for in vain."""
    some = pictures()[:3]
    made = [by_transformers(folder, one)[2].tolist() for one in some]
    end = next(token for token in made[0][2:] if token not in made[0][:2] + made[1])
    place = made[0].index(end)
    shutil.copytree(folder, tmp_path / "model")
    wishes = {
        "eos_token_id": [1, end], "do_sample": True, "temperature": 9.0, "top_k": 40, "top_p": 0.9,
        "num_beams": 3, "max_length": 20, "use_cache": False,
    }  # fmt: skip
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(wishes))
    model = captioner(tmp_path / "model")
    with watched(model.model) as seen:
        first, second, _ = model.caption(some)
    assert (first.finish, first.output_tokens) == ("stop", place + 1)
    assert first.text == model.tokenizer.decode(made[0][: place + 1])
    assert (second.finish, second.output_tokens) == ("length", TOKENS)
    assert second.text == model.tokenizer.decode(made[1])
    assert seen["ids"][-1].shape == (3, 1)  # not all anew for each token
    exact = captioner(tmp_path / "model", max_new_tokens=place + 1).caption(some[:1])
    assert exact[0].finish == "stop"
    short = captioner(tmp_path / "model", max_new_tokens=place).caption(some[:1])
    assert (short[0].finish, short[0].output_tokens) == ("length", place)


def test_marks_are_no_part_of_the_text(folder):
    """The model's favourite token changes places with the end token."""
    model = captioner(folder)
    made = by_transformers(folder, picture())[2].tolist()
    place = next(i for i, token in enumerate(made) if i and token not in made[:i])
    head, mark = model.model.lm_head.weight.data, model.tokenizer.eos_token_id
    head[[made[place], mark]] = head[[mark, made[place]]]
    [reply] = model.caption([picture()])
    assert (reply.finish, reply.output_tokens) == ("stop", place + 1)
    assert reply.text == model.tokenizer.decode(made[:place])


def test_a_tokenizer_without_padding_pads_with_the_end(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    tokens = tmp_path / "model" / "tokenizer_config.json"
    known = json.loads(tokens.read_text())
    tokens.write_text(json.dumps({k: v for k, v in known.items() if k != "pad_token"}))
    (tmp_path / "model" / "generation_config.json").write_text("{}")
    some = pictures()
    for prune in (False, True):
        without = captioner(tmp_path / "model", prune=prune)
        assert without.ends == {without.tokenizer.eos_token_id}
        texts = [reply.text for reply in without.caption(some)]
        assert texts == [reply.text for reply in captioner(folder, prune=prune).caption(some)]


def test_nothing_is_said_on_the_side(folder, tmp_path, capfd, recwarn, monkeypatch):
    shutil.copytree(folder, tmp_path / "model")
    wishes = {"do_sample": True, "temperature": 0.6, "max_length": 4096, "eos_token_id": 1}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(wishes))
    said = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", said.append)
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    transformers.utils.logging.set_verbosity_warning()
    captioner(tmp_path / "model", prune=True).caption(pictures())
    logger.removeHandler(handler)
    assert not said
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_pictures_beyond_a_batch_are_asked_in_several(folder, whole):
    model = captioner(folder, batch_size=3)
    assert (model.at_once, whole.at_once) == (3, 32)
    some = pictures()
    with watched(model.model) as seen:
        replies = model.caption(some)
    assert [len(ids) for ids in seen["ids"][::TOKENS]] == [3, 3, 1]
    assert [r.text for r in replies] == [r.text for r in whole.caption(some)]
    assert model.caption([]) == []


def test_half_precision_says_something(folder):
    model = captioner(folder, prune=True, dtype="bfloat16")
    assert model.model.dtype == torch.bfloat16
    assert [r.output_tokens for r in model.caption(pictures())] == [TOKENS] * len(SHAPES)
    assert captioner(folder).model.dtype == torch.float32
    assert captioner(folder, device="meta").model.dtype == torch.bfloat16  # any but a CPU


def limit(model, most, monkeypatch, error=None):
    """Let the model have room for `most` pictures at once; return the sizes that are tried."""
    generate, tried = model.model.generate, []

    def limited(**inputs):
        tried.append(len(inputs["input_ids"]))
        if tried[-1] > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(model.model, "generate", limited)
    return tried


@pytest.mark.parametrize(
    "error", [None, RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")]
)
def test_a_batch_that_does_not_fit_is_halved(folder, whole, monkeypatch, caplog, error):
    model, some = captioner(folder), pictures()
    tried = limit(model, 2, monkeypatch, error)
    with caplog.at_level(logging.INFO, "synthgap"):
        replies = model.caption(some)
    assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert "7 pictures do not fit in memory; going on with 3" in caplog.text
    assert [r.text for r in replies] == [r.text for r in whole.caption(some)]
    model.caption(some[:2])
    assert tried[9:] == [1, 1]  # it is not tried again
    assert model.at_once == 32  # calls are cut at the same places


def test_a_single_picture_that_does_not_fit_is_an_error(folder, monkeypatch):
    model = captioner(folder)
    tried = limit(model, 0, monkeypatch)
    with pytest.raises(UserError, match="not even one picture fits in the memory of cpu"):
        model.caption(pictures()[:2])
    assert tried == [2, 1]


def test_other_errors_are_not_taken_for_a_lack_of_memory(folder, monkeypatch):
    model = captioner(folder)
    limit(model, 0, monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        model.caption(pictures())


def test_a_model_that_does_not_fit_is_an_error(folder, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", full)
    with pytest.raises(UserError, match="the model itself does not fit on cpu"):
        captioner(folder)


def test_the_spec_of_a_config_makes_the_captioner(folder, tmp_path):
    spec = {
        "kind": "transformers", "model": "owner/name", "revision": "main", "prune": True,
        "prompt": PROMPT, "prompt_name": "own-1", "max_new_tokens": 3, "dtype": "float32",
        "batch_size": 2,
    }  # fmt: skip
    shutil.copytree(folder, tmp_path / "owner--name")
    facts = {"model": "owner/name", "commit": "abc"}
    (tmp_path / "owner--name.json").write_text(json.dumps(facts))
    model = load_captioner(spec, model=tmp_path / "owner--name")
    assert (model.name, model.at_once) == ("owner/name", 2)
    replies = model.caption(pictures()[:3])
    assert [reply.output_tokens for reply in replies] == [3, 3, 3]
    assert {reply.model for reply in replies} == {"owner/name@abc"}
    expected = captioner(folder, prune=True, max_new_tokens=3).caption(pictures()[:3])
    assert [reply.text for reply in replies] == [reply.text for reply in expected]
    defaults = load_captioner({"kind": "transformers", "prompt": PROMPT}, model=folder)
    assert (defaults.name, defaults.at_once) == (folder.name, 32)
    assert (defaults.prune, defaults.max_new_tokens) == (False, 200)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prunes": True}, "has no `prunes`; did you mean `prune`"),
        ({"prompt": None}, "`prompt`, the text to ask with, is missing"),
        ({"dtype": "int8"}, "unknown dtype 'int8'; known: auto, float32, bfloat16, float16"),
    ],
)
def test_settings_that_do_not_suit_are_refused(folder, change, said):
    spec = {"kind": "transformers", "prompt": PROMPT} | change
    spec = {key: value for key, value in spec.items() if value is not None}
    with pytest.raises(UserError, match=said):
        load_captioner(spec, model=folder)


def test_a_model_without_a_folder_or_of_another_kind_is_refused(folder, other, tmp_path):
    with pytest.raises(UserError, match="needs the folder of its model"):
        load_captioner({"kind": "transformers", "prompt": PROMPT})
    with pytest.raises(UserError, match=r"no vision-language model: it has no config\.json"):
        captioner(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"only LLaVA-NeXT \(llava_next\).* is a llava; leave"):
        captioner(other, prune=True)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"model_type": "bert"}, "cannot be loaded as a vision-language model"),
        ({"is_encoder_decoder": True}, "has an encoder for text; only decoders"),
        ("chat_template.jinja", "it has no chat template"),
        ("processor_config.json", "cannot be loaded"),
        ("tokenizer.json", "cannot be loaded"),
        ("model.safetensors", "cannot be loaded as a vision-language model"),
    ],
)
def test_damaged_folders_are_refused(folder, tmp_path, damage, said):
    shutil.copytree(folder, tmp_path / "model")
    if isinstance(damage, dict):
        config = tmp_path / "model" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | damage))
    else:
        (tmp_path / "model" / damage).unlink()
    with pytest.raises(UserError, match=said):
        captioner(tmp_path / "model")


def test_a_folder_of_which_only_texts_can_be_processed_is_refused(folder, monkeypatch):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    monkeypatch.setattr(AutoProcessor, "from_pretrained", lambda *args, **kwargs: tokenizer)
    with pytest.raises(UserError, match="it has no processor of images and text"):
        captioner(folder)


def test_weights_in_a_form_that_can_run_code_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(UserError, match="cannot be loaded as a vision-language model"):
        captioner(tmp_path / "model")


def test_weights_that_are_cut_short_or_lack_a_part_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    whole, tensors = weights.read_bytes(), load_file(weights)
    weights.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cannot be loaded as a vision-language model"):
        captioner(tmp_path / "model")
    kept = {name: each for name, each in tensors.items() if "newline" not in name}
    assert len(kept) < len(tensors)
    save_file(kept, weights, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"the weights lack 1 tensors.*image_newline"):
        captioner(tmp_path / "model")


def test_the_small_model_has_the_same_bytes_each_time(folder, tmp_path):
    build(tmp_path)
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in tmp_path.iterdir()}
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name
    assert transformers.AutoConfig.from_pretrained(folder).model_type == "llava_next"


def test_images_are_brought_to_a_size_where_one_is_asked_for(folder):
    one = picture(40, 60, box=(0.5, 0.5, 0.25, 0.25))
    large = Image.fromarray(one.pixels()).resize((120, 120), Image.Resampling.BICUBIC)
    content = encode(np.asarray(large), "png")
    same = Picture("0", "goldfish", "", lambda: content, box=one.box)
    asked = captioner(folder, prune=True, image_size=120)
    [found], [expected] = asked.caption([one]), captioner(folder, prune=True).caption([same])
    assert (found.text, found.input_tokens) == (expected.text, expected.input_tokens)
    assert found.input_tokens != captioner(folder, prune=True).caption([one])[0].input_tokens
