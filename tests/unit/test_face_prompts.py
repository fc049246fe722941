"""The grammar of portraits."""

from collections import Counter
from itertools import product

from synthgap.face_prompts import AGES, FRAMES, GRAMMAR, PEOPLE, face_prompt, portrait
from synthgap.prompts import make_prompts

# Table 7 of paper D.
EXAMPLES = (
    "A DSLR photo of a child Asian woman with a confident look, studio background, headshot,"
    " photorealistic, high detail",
    "A passport-style photo of a young South Asian woman with a neutral expression, subtle gradient"
    " background, close-up face, photorealistic, high detail",
    "A professional headshot of an elderly South Asian woman with a gentle smile, subtle gradient"
    " background, headshot, photorealistic, high detail",
    "A realistic portrait of a middle-aged White man with a neutral expression, subtle gradient"
    " background, headshot, photorealistic, high detail",
    "A studio portrait of a teen South Asian woman with a serious face, indoor background,"
    " realistic lighting, photorealistic, high detail",
)


def test_the_papers_examples_are_of_the_grammar():
    prompts = {portrait(*words) for words in product(*GRAMMAR)}
    assert len(prompts) == 24_000
    assert prompts.issuperset(EXAMPLES)
    assert face_prompt(5) in prompts


def test_words_are_evenly_drawn():
    prompts = [face_prompt(seed) for seed in range(2000)]
    for words in (AGES, PEOPLE, FRAMES):
        counts = Counter(word for prompt in prompts for word in words if f" {word}" in prompt)
        if words is FRAMES:
            # One of the styles has a headshot in it, too.
            del counts["headshot"]
        expected = len(prompts) / len(words)
        assert all(abs(count - expected) < 0.25 * expected for count in counts.values()), counts


def test_each_sample_has_a_prompt_of_its_own_seed():
    options = {"source": "sd3-faces", "split": "train", "samples_per_class": 50, "seed": 0}
    rows = make_prompts("faces", ["face"], {}, **options)
    assert [row["prompt"] for row in rows] == [face_prompt(row["seed"]) for row in rows]
    assert len({row["prompt"] for row in rows}) > 45
    other = make_prompts("faces", ["face"], {}, **options | {"source": "flux-faces"})
    assert [row["prompt"] for row in rows] != [row["prompt"] for row in other]
