"""The site's facts, and what each wrong one is answered."""

import pytest

from synthgap.config.site import Site, load_site, scratch_folder
from synthgap.errors import UserError


def test_all_of_it_may_be_left_out(tmp_path):
    assert load_site(tmp_path / "none.yaml") == Site()


def test_the_shipped_file_changes_nothing_and_names_every_key(pytestconfig):
    path = pytestconfig.rootpath / "config/site.yaml"
    assert load_site(path) == Site()
    text = path.read_text()
    options = (pytestconfig.rootpath / "config/README.md").read_text()
    for name in Site.model_fields:
        assert f"# {name}: " in text
        assert f"| `{name}` |" in options


def test_the_command_line_overrides_single_facts(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("account: lab\ngpu_model: h100\n")
    site = load_site(path, {"gpu_model": "a100", "max_mem_mb": "9000"})
    assert (site.account, site.gpu_model, site.max_mem_mb) == ("lab", "a100", 9000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acount: lab", "acount: unknown key; did you mean `account`?"),
        ("max_mem_mb: much", "max_mem_mb: input should be a valid integer, not 'much'"),
        ("account: 'a b; rm'", "account: string should match pattern"),
        ("- account", "a mapping of keys is needed"),
        ("account: [", "is not valid YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, words):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_site(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_an_override_that_is_no_mapping_is_refused(tmp_path):
    with pytest.raises(UserError, match="--config site"):
        load_site(tmp_path / "none.yaml", "h100")


def test_results_folders_share_a_scratch_folder_without_meeting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    site = Site(scratch="/scratch/me")
    first, second = scratch_folder(site, "results"), scratch_folder(site, "other/results")
    assert first != second
    assert first.startswith("/scratch/me/results-")
    assert scratch_folder(Site(), "results") == "results/.scratch"
