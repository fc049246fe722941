"""What makes the workflow work again, and what does not."""

import os

import pytest

pytestmark = pytest.mark.slow

FREQUENCY = "src/synthgap/views/frequency.py"


def test_second_run_does_nothing(finished):
    assert finished.planned() == {}


def test_deleted_shard_is_made_again_with_what_depends_on_it(checkout):
    tar = checkout / "results/images/flow-g2-caption/test/rgb/00000.tar"
    tar.unlink()
    plan = checkout.planned()
    assert plan["generate_images"] == 1
    assert plan["derive_view"] == 2  # depth and low of this shard
    assert plan["gather_shards"] == 3
    assert plan["evaluate_classifier"] > 0
    assert plan["write_report"] == 1
    assert not plan.keys() & {"train_generator", "prepare_real", "composite_images"}


def test_deleted_shard_comes_back_the_same(checkout):
    path = "results/images/flow-g2-caption/train/rgb/00001.tar"
    before = (checkout / path).read_bytes()
    (checkout / path).unlink()
    result = checkout.snakemake("--cores", "1", path)
    assert result.returncode == 0, result.stdout
    assert (checkout / path).read_bytes() == before


def test_changed_threshold_reruns_that_view_only(checkout):
    checkout.edit("tiny.yaml", "half_width: 3", "half_width: 4")
    plan = checkout.planned()
    assert plan["derive_view"] == 8  # low of two sources: two training shards, val, test
    # The two probes in this view, on either source, resnet and bagnet; and the two comparisons.
    assert plan["train_classifier"] == 6
    assert plan["collect_metrics"] == 1
    assert not plan.keys() & {"generate_images", "train_generator", "extract_features"}


def test_changed_recipe_reruns_that_classifier_only(checkout):
    checkout.edit("tiny.yaml", "recipe: {epochs: 1}", "recipe: {epochs: 2}")
    plan = checkout.planned()
    assert plan["train_classifier"] == 4  # bagnet: two views, two sources
    assert not plan.keys() & {"derive_view", "generate_images", "measure_distribution"}


def test_changed_code_reruns_what_uses_it(checkout):
    with (checkout / FREQUENCY).open("a") as file:
        file.write("\nANOTHER = 1\n")
    plan = checkout.planned()
    assert plan["derive_view"] == 8  # low; depth does not use it
    assert not plan.keys() & {"generate_images", "prepare_real", "caption_images"}


@pytest.mark.parametrize(
    "module", ["views/frequency.py", "data/shards.py", "generators/pipeline.py"]
)
def test_comment_reruns_nothing(checkout, module):
    path = checkout / f"src/synthgap/{module}"
    path.write_text("# A remark.\n" + path.read_text() + "\n\n# Another.\n")
    assert checkout.planned() == {}


def test_touched_code_and_config_rerun_nothing(checkout):
    for part in ("workflow", "src", "config", "tiny.yaml", "Snakefile"):
        for path in [checkout / part, *(checkout / part).rglob("*")]:
            os.utime(path)
    assert checkout.planned() == {}


def test_moved_checkout_reruns_nothing(checkout, tmp_path):
    checkout.folder = checkout.folder.rename(tmp_path / "elsewhere")
    assert checkout.planned() == {}


def test_options_that_shape_nothing_rerun_nothing(checkout):
    checkout.edit("tiny.yaml", "checkpoint_seconds: 0", "checkpoint_seconds: 5")
    assert checkout.planned() == {"write_report": 1}  # which shows the config


def test_facts_of_the_site_rerun_nothing(checkout):
    facts = "scratch: elsewhere\naccount: lab\ngpu_model: h100\nmax_mem_mb: 9000\n"
    (checkout / "config/site.yaml").write_text(facts)
    assert checkout.planned() == {}
    assert checkout.planned("--profile", "slurm") == {}


def test_changed_template_rewrites_the_report(checkout):
    checkout.edit("src/synthgap/report/template.html.j2", "</main>", "<p>More.</p></main>")
    plan = checkout.planned()
    assert plan.pop("write_report") == 1
    # Their code lies beside the template.
    pictures = {"choose_examples", "draw_contact_sheet", "draw_probe_sheet"}
    assert plan.keys() <= {*pictures, "write_quiz"}


def test_new_generator_makes_only_what_is_its_own(checkout):
    checkout.edit(
        "tiny.yaml",
        "generators:\n",
        "generators:\n  flow-g1: {trained: flow, guidance_scale: 1.0, steps: 2}\n",
    )
    plan = checkout.planned()
    assert plan["generate_images"] == 4
    assert "train_generator" not in plan
    # Its own classifiers, on fewer images and with real ones (with all labels and with few), too,
    # and those that tell it from real images: as the first of the comparisons also in another view
    # and on fewer images.
    assert plan["train_classifier"] == 12
