"""Portraits of all kinds of people: the grammar that paper D's table 7 shows examples of.

A STYLE of a AGE ORIGIN PERSON with LOOK, GROUND background, FRAME, photorealistic, high detail

The paper's prompts came from language models and are not published; every example of table 7 is
among these 24 000.
"""

from synthgap.seeds import derive_seed

STYLES = (
    "DSLR photo",
    "passport-style photo",
    "professional headshot",
    "realistic portrait",
    "studio portrait",
)
AGES = ("child", "teen", "young", "middle-aged", "elderly")
ORIGINS = ("Asian", "Black", "Latino", "Middle Eastern", "South Asian", "White")
PEOPLE = ("man", "woman")
LOOKS = ("a confident look", "a gentle smile", "a neutral expression", "a serious face")
GROUNDS = ("indoor", "plain", "studio", "subtle gradient")
FRAMES = ("centered composition", "close-up face", "headshot", "realistic lighting", "sharp focus")
GRAMMAR = (STYLES, AGES, ORIGINS, PEOPLE, LOOKS, GROUNDS, FRAMES)


def face_prompt(seed: int) -> str:
    """Return a portrait's prompt, every word of its kind as likely as any other."""
    words = (kind[derive_seed(seed, "face", i) % len(kind)] for i, kind in enumerate(GRAMMAR))
    return portrait(*words)


def portrait(
    style: str, age: str, origin: str, person: str, look: str, ground: str, frame: str
) -> str:
    """Return the prompt of words of the grammar."""
    article = "an" if age[0] in "aeiou" else "a"
    return (
        f"A {style} of {article} {age} {origin} {person} with {look}, {ground} background, {frame},"
        " photorealistic, high detail"
    )
