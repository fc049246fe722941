"""Config files that are none: each is refused in one line, at once."""

from pathlib import Path

import pytest

from synthgap.config import load, parse
from synthgap.errors import UserError

LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "mapping of keys"),
        (b"- 1\n", "mapping of keys"),
        (b"results: r\xe9sultats\n", "cannot be read as YAML"),
        (b"\x00" * 100, "cannot be read as YAML"),
        (b"a: 1\n---\nb: 2\n", "cannot be read as YAML"),
        (b"? {a: 1}\n: 2\n", "cannot be read as YAML"),
        (b"seed: " + b"9" * 5000, "cannot be read as YAML"),
        (b"seed: !!int x\n", "cannot be read as YAML"),
        (b"x: !!python/object/apply:os.system ['touch canary']\n", "cannot be read as YAML"),
        (b"x: " + b"[" * 5000 + b"]" * 5000, "deep"),
        (b"x: " + b"[" * 100 + b"]" * 100, "deep"),
        (b"views: &v {a: *v}\n", "deep"),
        (LAUGHS.encode(), "more than 100000 values"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        load(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    assert not Path("canary").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study\.yaml: No such file"):
        load(tmp_path / "study.yaml")


def test_a_long_value_is_not_told_whole() -> None:
    with pytest.raises(UserError) as caught:
        parse({"seed": "x" * 100_000})
    assert len(str(caught.value)) < 1000
