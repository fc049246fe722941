# What is measured of images without training classifiers on them: by which weights, from which files.

from synthgap.config.casd import subset_name

BENCHMARKS = CONFIG.compositional.benchmarks if CONFIG.compositional else {}
BENCHMARK_ENVIRONMENTS = {
    "geneval": f"{workflow.basedir}/envs/geneval.yaml",
    "dpg-bench": f"{workflow.basedir}/envs/dpg-bench.yaml",
}
COMPOSITIONAL = f"{RESULTS}/compositional/{{benchmark}}/{{generator}}"
CASD = CONFIG.studies.casd
# Sources that are models of the study; the others that their synthetic images come from.
CASD_MODELS = CONFIG.casd_models
CASD_SOURCES = list(dict.fromkeys(one.source for one in CASD_MODELS.values() if one.source))
THRESHOLDS = CASD.memorised.model_dump(exclude_none=True) if CASD else {}
COUNTING_THREADS = CONFIG.classifiers[CASD.classifier].threads if CASD and CASD.classifier else 1


def encoder_model(name):
    """The weights of an encoder: a classifier of this workflow, a downloaded or given model."""
    encoder = CONFIG.encoders[name]
    if encoder.kind == "classifier":
        path = CLASSIFIER.format(
            dataset="real", view=encoder.view, classifier=encoder.classifier, seed=encoder.seed
        )
        return f"{path}.safetensors"
    if encoder.weight_file:
        return f"{DOWNLOADED_FILES}/{encoder.weight_file.name}"
    return model_folder(encoder)


def encoder_files(name):
    encoder = CONFIG.encoders[name]
    if encoder.kind == "classifier" or encoder.weight_file:
        return []
    return model_files(encoder)


def encoder_threads(w):
    encoder = CONFIG.encoders[w.encoder]
    if encoder.kind == "classifier":
        return CONFIG.classifiers[encoder.classifier].threads
    return encoder.threads


def features(encoder, source, split):
    """The features of all images of a source's split, a file a shard."""
    tars = shards(source, split, CONFIG.encoders[encoder].view)
    folder = f"{RESULTS}/features/{encoder}/{source}/{split}"
    return [f"{folder}/{Path(tar).stem}.parquet" for tar in tars]


def scorer_models(name):
    """The folders and files of a scorer, by role."""
    scorer = CONFIG.scorers[name]
    folders = {role: f"{CONFIG.downloads_folder}/{m.name}" for role, m in scorer.hub_models.items()}
    files = {role: f"{DOWNLOADED_FILES}/{f.name}" for role, f in scorer.weight_files.items()}
    local = {role: str(path) for role, path in scorer.local_models.items()}
    return dict(sorted({**folders, **files, **local}.items()))


def search_models(generator):
    """Those of the scorer that chooses among a generator's candidates, if one does."""
    search = CONFIG.generators[generator].search
    return list(scorer_models(search.scorer).values()) if search else []


def search_files(generator):
    search = CONFIG.generators[generator].search
    return SCORER_FILES[search.scorer] if search else []


def measures():
    """The files of numbers that were measured of images themselves."""
    scores = [
        f"{RESULTS}/alignment/{scorer}/{source}.json"
        for scorer in CONFIG.scorers
        for source in CONFIG.generated
        if source not in CASD_MODELS
    ]
    sources = ["real", *CONFIG.compared_sources, *CASD_MODELS]
    nearest = [f"{RESULTS}/replication/{source}.json" for source in sources]
    return [*distributions(), *scores, *(nearest if CONFIG.replication else [])]


def distributions():
    return [
        f"{RESULTS}/distribution/{name}/{source}.json"
        for name in CONFIG.distributions
        for source in ["real", *CONFIG.measured_in(name)]
    ]


def reference_features(w):
    """Those of the real images that a distribution compares with."""
    one = CONFIG.distributions[w.distribution]
    return features(one.encoder, "real", one.split)


def distribution_options(name):
    one = CONFIG.distributions[name]
    return (
        f"--metrics {' '.join(one.metrics)} --samples {one.samples} --k {one.neighbours}"
        f" --distance {one.distance} --threads {one.threads}"
        + (f" --classes {' '.join(map(str, one.classes))}" if one.classes else "")
    )


def few_options(name, source):
    """Where there may be fewer images than of others; the numbers say so."""
    one = CONFIG.distributions[name]
    if source == "real":
        return "--few --at-most" + (" --of-both" if one.classes else "")
    fewer = CONFIG.samples_of(source) != CONFIG.synthetic.samples_per_class
    return "--few --at-most" if fewer else "--few" if one.few else ""


def distribution_of(source):
    """The one by which study D compares one of its models."""
    name = CASD.distribution
    if classes := CASD_MODELS[source].classes:
        name = subset_name(name, classes)
    return f"{RESULTS}/distribution/{name}/{source}.json"


def trained_on(source):
    """The images that a source's model learnt from, where they are chosen among the real ones."""
    edm = CONFIG.generators[CONFIG.generated[source][0]].edm if source in CONFIG.generated else None
    return f"{RESULTS}/models/{edm}.images.parquet" if edm else []


def distribution_threads(w):
    return CONFIG.distributions[w.distribution].threads


def scorer_threads(w):
    return CONFIG.scorers[w.scorer].threads


def replication_options():
    """What of images, networks and numbers is asked for."""
    chosen = CONFIG.replication
    if not chosen:
        return ""
    given = chosen.model_dump(exclude={"metrics", "weights"}, exclude_none=True)
    words = [f"--{name.replace('_', '-')} {value}" for name, value in given.items()]
    return " ".join([f"--metrics {' '.join(chosen.metrics)}", *words])


def replication_weights():
    chosen = CONFIG.replication
    if not chosen or "lpips" not in chosen.metrics:
        return []
    return chosen.weights or f"{DOWNLOADED_FILES}/{chosen.weight_file.name}"


def benchmark_generators(benchmark):
    return BENCHMARKS[benchmark].generators or list(CONFIG.generators)


def compositional_measures():
    """The files of all scores."""
    return [
        f"{RESULTS}/compositional/{benchmark}/{generator}/metrics.json"
        for benchmark in BENCHMARKS
        for generator in benchmark_generators(benchmark)
    ]


def benchmark_images(w):
    folder = COMPOSITIONAL.format(benchmark=w.benchmark, generator=w.generator)
    return [f"{folder}/images/{i:05d}.tar" for i in range(BENCHMARKS[w.benchmark].shards)]


def benchmark_generator_options(w):
    """A generator's options, but images as it renders them, and nothing lost to a codec."""
    size = BENCHMARKS[w.benchmark].image_size or CONFIG.resolved(w.generator).image_size
    options = CONFIG.generator_options(w.generator)
    return as_json(options | {"stored_size": size, "image_format": "png"})


def benchmark_file(option):
    """An input that a benchmark's section names, if it does."""

    def path(w):
        return getattr(BENCHMARKS[w.benchmark], option, None) or []

    return path


def benchmark_option(flag, name):
    """`--flag PATH` for an input that may not be there."""

    def option(w, input):
        return f"{flag} {input[name]}" if input[name] else ""

    return option


def few(w):
    return "--few" if BENCHMARKS[w.benchmark].few else ""


def about_benchmark(w):
    return as_json(about.benchmark(CONFIG, w.generator, w.benchmark))


def counting_classifier():
    """The classifier of real images that says of which classes generated ones are."""
    if not (CASD and CASD.classifier):
        return []
    path = CLASSIFIER.format(dataset="real", view="rgb", classifier=CASD.classifier, seed=0)
    return f"{path}.safetensors"


def casd_measures():
    """What is measured of the study's models besides what is of all sources."""
    if not CASD:
        return []
    copies = [f"{RESULTS}/memorised/{source}.json" for source in ["real", *CASD_MODELS]]
    shown = ["real", *CASD_SOURCES, *CASD_MODELS]
    shares = [f"{RESULTS}/class_shares/{source}.json" for source in shown]
    return [*(copies if THRESHOLDS else []), *(shares if CASD.classifier else [])]


def casd_sheets():
    """The sheets of the page: what the models make, and the nearest training images."""
    if not CASD:
        return []
    return ["models", *(["nearest"] if CONFIG.replication else [])]
