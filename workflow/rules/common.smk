# Paths and wildcard constraints. What a file name means is said here and nowhere else.

import json
import os
import re
import sys
from pathlib import Path

from synthgap.config import SPLITS, about, parse as parse_config
from synthgap.config.comparisons import HEADERS, METADATA
from synthgap.config.site import load_site, scratch_folder
from synthgap.config.studies import LINEAR
from synthgap.data.slices import shard_slice
from synthgap.digest import code_digest
from synthgap.errors import UserError
from synthgap.listing import files_below
from synthgap.prompts import KINDS, NEEDS_CAPTION

try:
    SITE = load_site(Path(workflow.basedir, "config", "site.yaml"), config.pop("site", None))
    CONFIG = parse_config(config, " and ".join(map(str, workflow.configfiles)))
except UserError as error:
    sys.exit(str(error))

SCRATCH = scratch_folder(SITE, CONFIG.results)

# Jobs run the Python that runs Snakemake, unless a software environment puts its own first. They
# get these by the environment, as an absolute path in a command would rerun all in another checkout.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    PYTHONPATH=str(Path(workflow.basedir, "src")),
    SYNTHGAP_SOURCE=str(Path(workflow.basedir, "src")),
    SYNTHGAP_SCRIPTS=str(Path(workflow.basedir, "workflow", "scripts")),
    # None of these shapes a result, so they are no params either.
    SYNTHGAP_SCRATCH=SCRATCH,
    SYNTHGAP_CHECKPOINT_SECONDS=str(CONFIG.checkpoint_seconds),
    SYNTHGAP_SERVICE=CONFIG.captioner.transport,
    SYNTHGAP_JOBS_PER_GPU=str(SITE.jobs_per_gpu),
    SYNTHGAP_UNCAPTIONED=str(CONFIG.captioner.max_failed),
    SYNTHGAP_REPLIES=getattr(CONFIG.captioner, "cache", ""),
)
# Snakemake takes PYTHONPATH away from jobs in conda environments, which do not hold the library.
# A shell that stays must not die of the signal that its job is to heed.
shell.prefix('trap : TERM; set -euo pipefail; export PYTHONPATH="$SYNTHGAP_SOURCE"; ')

ENVIRONMENT = f"{workflow.basedir}/envs/synthgap.yaml"
RESULTS = CONFIG.results
IMAGES = f"{RESULTS}/images/{{source}}/{{split}}/{{view}}"
CLASSIFIER = f"{RESULTS}/classifiers/{{dataset}}/{{view}}/{{classifier}}/seed-{{seed}}"
TRANSFER, DISTINGUISH = CONFIG.studies.transfer, CONFIG.studies.distinguish
TEXT_TO_IMAGE = CONFIG.studies.text_to_image
CAPTIONED = CONFIG.captioned
COMPOSITES = [f"cutmix-{pattern}" for pattern in CONFIG.composites]
SOURCES = ["real", *CONFIG.sources, *COMPOSITES]
COMPARISONS = CONFIG.comparisons
PEOPLE = DISTINGUISH.people if DISTINGUISH else None
# Where there is something to see: the controls have nothing that tells their halves apart.
OCCLUDED = [
    name
    for name, one in COMPARISONS.items()
    if DISTINGUISH.occlusion and not one.is_control and not one.samples
]
METRICS = f"{RESULTS}/metrics.parquet"
REPORT = f"{RESULTS}/report.html"
DRAWN_PROBES = {"structure", "texture", "low", "band", "high"}
PROBES = CONFIG.transfer_probes
WHOLE_IMAGES = {name for name, probe in PROBES.items() if probe.view == "rgb"}
FIGURES = [
    *(["transfer_by_generator", "transfer_by_alignment", "transfer_asymmetry"] if TRANSFER else []),
    *(["transfer_by_probe"] if DRAWN_PROBES & set(PROBES) else []),
    *(["density_coverage"] if TRANSFER and CONFIG.shown_distribution else []),
    *(["distinguish"] if DISTINGUISH else []),
    *(["distinguish_by_view"] if DISTINGUISH and DISTINGUISH.axes.views else []),
    *(["distinguish_by_samples"] if DISTINGUISH and DISTINGUISH.axes.samples else []),
    *(["power_spectrum"] if TRANSFER else []),
    *(["transfer_by_architecture"] if WHOLE_IMAGES - {"rgb", *DRAWN_PROBES} else []),
    *(["transfer_by_size"] if TRANSFER and TRANSFER.scaling else []),
    *CONFIG.mixings,
    *(["text_to_image"] if TEXT_TO_IMAGE else []),
    *(["casd_by_size"] if CONFIG.studies.casd else []),
    *(["casd_classes"] if CONFIG.studies.casd and CONFIG.studies.casd.classifier else []),
    *(["text_to_image_by_step"] if TEXT_TO_IMAGE and TEXT_TO_IMAGE.curve else []),
]
HUB_MODELS = CONFIG.hub_models
WEIGHT_FILES = CONFIG.weight_files
DOWNLOADED_FILES = f"{CONFIG.downloads_folder}/files"
SHEETS = [
    *(["sources"] if CONFIG.compared_sources else []),
    *(["views"] if CONFIG.views else []),
    *(["composites"] if COMPOSITES else []),
]
SHEET = f"{RESULTS}/figures/contact-{{sheet}}.png"


def any_of(names):
    return "|".join(map(re.escape, names))


wildcard_constraints:
    source=any_of(SOURCES),
    synthetic=any_of(CONFIG.generated) or "-",
    guided=any_of(CONFIG.guided) or "-",
    imageset=any_of(CONFIG.image_sets) or "-",
    dataset=any_of([*SOURCES, *COMPARISONS, *CONFIG.blends]),
    comparison=any_of(COMPARISONS) or "-",
    blend=any_of(CONFIG.blends) or "-",
    split=any_of(SPLITS),
    view=any_of(["rgb", *CONFIG.views]),
    derived=any_of(set(CONFIG.views) - set(CONFIG.depth_views)) or "-",
    captioned=any_of(CAPTIONED) or "-",
    depth=any_of(CONFIG.depth_views) or "-",
    pattern=any_of(CONFIG.composites) or "-",
    classifier=any_of(CONFIG.classifiers) or "-",
    hub=any_of(HUB_MODELS) or "-",
    file=any_of(WEIGHT_FILES) or "-",
    encoder=any_of(CONFIG.encoders) or "-",
    distribution=any_of(CONFIG.distributions) or "-",
    scorer=any_of(CONFIG.scorers) or "-",
    trained=any_of(CONFIG.trained_models) or "-",
    edm=any_of(CONFIG.edm_models) or "-",
    autoencoder=any_of(CONFIG.autoencoders),
    textencoder=any_of(CONFIG.text_encoders),
    learnt=any_of(["real", *COMPOSITES]),
    kind=any_of(KINDS),
    figure=any_of(FIGURES),
    seed=r"\d+",
    shard=r"\d{5}",


def shards(source, split, view="rgb"):
    folder = IMAGES.format(source=source, split=split, view=view)
    return [f"{folder}/{shard:05d}.tar" for shard in range(CONFIG.shards_of(source, view)[split])]


def shards_in_view(source, split, view, shard):
    """The shards of images that one shard of a view is of."""
    tars = shards(source, split)
    return tars[shard_slice(len(tars), int(shard), CONFIG.shards_of(source, view)[split])]


def manifest(source, split, view="rgb"):
    return f"{IMAGES.format(source=source, split=split, view=view)}/manifest.parquet"


def captions(source="real", split="train"):
    folder = f"{RESULTS}/captions/{source}/{split}"
    return [f"{folder}/{Path(tar).stem}.parquet" for tar in shards(source, split)]


def all_captions():
    return [
        table
        for source in CAPTIONED
        for split in CONFIG.caption_splits(source)
        for table in captions(source, split)
    ]


def part_folder(section, name):
    """The folder of an autoencoder or text encoder: made here, or got from elsewhere."""
    part = getattr(CONFIG, section)[name]
    return f"{RESULTS}/{section}/{name}" if part.made_here else model_folder(part)


def part_files(part):
    return [] if part.made_here else model_files(part)


def learnt_from(w):
    """The latents and texts that a text-to-image model is trained on, by the option they are for."""
    model = CONFIG.trained_models[w.trained]
    files = {}
    for role, source in model.learns_from.items():
        stems = [Path(tar).stem for tar in shards(source, "train")]
        latents = f"{RESULTS}/latents/{model.autoencoder}/{source}"
        files[f"{role}latents"] = [f"{latents}/{stem}.safetensors" for stem in stems]
        for kind in model.kinds_of(source):
            texts = f"{RESULTS}/texts/{model.text_encoder}/{kind}/{source}"
            files[f"{role}texts_of_{kind}"] = [f"{texts}/{stem}.safetensors" for stem in stems]
    return files


def learnt_options(w, input):
    """The same as options of `train_generator`."""
    found = []
    for name in learnt_from(w):
        option = name.partition("_of_")[0].replace("_", "-")
        found.append(f"--{option} {' '.join(input[name])}")
    return " ".join(found)


def begun_from(w):
    """The pipeline folder that a text-to-image model begins as, if it does."""
    start = CONFIG.trained_models[w.trained].start
    return f"{RESULTS}/models/{start}" if start in CONFIG.trained_models else start or []


def begun_from_files(w):
    start = begun_from(w)
    return files_of(start) if start and CONFIG.trained_models[w.trained].start == start else []


def training_options(w, input):
    """Further options of `train_generator`."""
    options = ["--start", input.start] if input.start else []
    if steps := CONFIG.snapshots(w.trained):
        options += ["--snapshot-steps", *steps]
    return " ".join(map(str, options))


def generator_of(source):
    return CONFIG.generators[CONFIG.sources[source][0]]


def realism_of(source):
    return generator_of(source).realism


def pipeline_of(name):
    """The pipeline folder that a generator's jobs read."""
    generator = CONFIG.generators[name]
    if generator.trained:
        kept = ".snapshots" if generator.step else ""
        return f"{RESULTS}/models/{generator.trained}{kept}"
    if generator.edm:
        return f"{RESULTS}/models/{generator.edm}"
    if generator.hub_model:
        return f"{CONFIG.downloads_folder}/{CONFIG.hub_model(name).name}"
    return generator.model


def pipeline_in(folder, name):
    """The pipeline itself: of a model before its end, one of several in that folder."""
    step = CONFIG.generators[name].step
    return Path(folder, str(step)) if step else folder


def pipeline_files(name):
    folder = pipeline_of(name)
    return files_of(folder) if folder == CONFIG.generators[name].model else []


def files_of(folder):
    """What is in a folder of the user's: its own time does not tell of its files."""
    if Path(folder).is_file():
        return [folder]
    return [str(path) for path in files_below(Path(folder)) if path.is_file()]


def access_options(model):
    revision = [f"--revision {model.revision}"] if model.revision else []
    return " ".join([f"--model {model.model} --layout {model.layout}", *revision])


def download_options(model):
    options = [access_options(model)]
    options += [f"--variant {model.variant}"] if model.variant else []
    options += ["--trust-remote-code"] if model.trust_remote_code else []
    return " ".join(options)


def model_folder(user):
    """The folder of the one model that a depth view, captioner, encoder or classifier reads."""
    if user.hub_model:
        return f"{CONFIG.downloads_folder}/{user.hub_model.name}"
    return user.model


def model_files(user):
    return [] if user.hub_model else files_of(user.model)


def real_options(*names):
    return as_json(CONFIG.real.model_dump(mode="json", include=set(names)))


def image_set_options(name):
    return as_json(CONFIG.image_set_options(name))


def as_json(value):
    """An option's value; keys sorted, so that their order in the config reruns nothing."""
    dumped = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    return json.dumps(dumped, sort_keys=True)
