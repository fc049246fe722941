from snakemake.utils import min_version

min_version("9.27")


# With `--sdm apptainer` only.
container: f"{workflow.basedir}/envs/synthgap.sif"


# A config file is complete in itself: `--configfile mine.yaml` stands in for the default one.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/machine.smk"
include: "workflow/rules/measures.smk"
include: "workflow/rules/real.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/generators.smk"
include: "workflow/rules/composites.smk"
include: "workflow/rules/cards.smk"
include: "workflow/rules/views.smk"
include: "workflow/rules/classifiers.smk"
include: "workflow/rules/comparisons.smk"
include: "workflow/rules/compositional.smk"
include: "workflow/rules/casd.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/examples.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/plan.smk"


# Targets. `all` lists shards and figures themselves, so that a deleted one is made again with
# all that depends on it: Snakemake does not miss a file in the middle of the graph by itself.
# Tens of thousands of shards come from a function: they are then listed only when asked for.


rule all:
    """Everything: images, views, studies, figures and the report."""
    default_target: True
    input:
        REPORT,
        rules.write_report.output.claims,
        rules.write_report.input.figures,
        rules.write_report.input.numbers,
        drawn_sheets(),
        lambda w: image_shards() + view_shards(),
        all_captions(),


rule captions:
    """All captions, with what they cost."""
    input:
        all_captions(),


rule images:
    """All images as they are made: real, synthetic and composite."""
    input:
        lambda w: image_shards(),


rule cards:
    """A dataset card for each source's images, before they are published (docs/data.md)."""
    input:
        [f"{RESULTS}/images/{source}/README.md" for source in SOURCES],


rule views:
    """All derived views that the studies use or the report shows."""
    input:
        lambda w: view_shards(),


rule transfer:
    """Study A: train on synthetic images and test on real ones, and the reverse."""
    input:
        transfer_predictions(),
        axis_predictions("scaling"),
        distributions(),
        spectra(),


rule distinguish:
    """Study C: can classifiers tell real from generated images, and where do they look?"""
    input:
        distinguish_predictions(),
        leaks(),
        people(),
        quizzes(),
        realism(),
        [occlusion_maps(name) for name in OCCLUDED],


rule text_to_image:
    """Study B: what captions and augmentation make of models that are trained here."""
    input:
        recognitions(),
        distributions(),
        compositional_measures(),


rule mixing:
    """Training on real and generated images together, with all labels or few."""
    input:
        axis_predictions(*CONFIG.mixings),


rule casd:
    """Study D: does synthetic data help a diffusion model, and does it do no harm?"""
    input:
        casd_measures(),
        [distribution_of(source) for source in CASD_MODELS],


rule compositional:
    """GenEval and DPG-Bench, where the config names them (docs/compositional.md)."""
    input:
        compositional_measures(),


rule figures:
    """All figures, the numbers behind them, and contact sheets."""
    input:
        rules.write_report.input.figures,
        rules.write_report.input.numbers,
        drawn_sheets(),


rule report:
    """The report, one page that opens offline."""
    input:
        REPORT,


rule compare:
    """This run's numbers beside those of the one that `compare_with` names."""
    input:
        COMPARISON,


onsuccess:
    summarise_run()
    end_run()
