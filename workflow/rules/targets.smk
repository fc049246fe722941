# What the studies consist of: the files that targets and the one long table ask for.

from synthgap.config.cards import card

# What dataset cards say; once, as each source has one.
CARDS = {source: card(CONFIG, source) for source in SOURCES}


def tests_of(dataset, view):
    """What a classifier trained on a data set is tested on."""
    if dataset in COMPARISONS:
        return [dataset, *judged(dataset, view)]
    if dataset in CONFIG.blends:
        return ["real"]
    if dataset != "real":
        return ["real", dataset]
    # What models make before their end is only asked for the class that it shows, as it is.
    known = [source for source in CONFIG.sources if source not in CONFIG.casd_models]
    return ["real", *(known if view == "rgb" else CONFIG.compared_sources)]


def judged(dataset, view):
    """Further sources that a comparison's classifier is shown, and the side that each belongs to."""
    main = dataset in COMPARISONS and view == DISTINGUISH.view
    return CONFIG.judged(dataset) if main else {}


def predictions(dataset, view, classifier, seeds):
    folder = f"{RESULTS}/predictions/{dataset}/{view}/{classifier}"
    return [f"{folder}/seed-{seed}.parquet" for seed in seeds]


def transfer_predictions():
    return [
        path
        for probe in PROBES.values()
        for source in ["real", *CONFIG.compared_sources]
        for path in predictions(source, probe.view, probe.classifier, probe.seeds)
    ]


def axis_predictions(*studies):
    """Those of fractions and mixtures of sources."""
    return [
        path
        for point in about.points(CONFIG)
        if point["study"] in studies
        for path in predictions(*map(point.get, ("dataset", "view", "classifier", "seeds")))
    ]


def recognitions():
    """How a classifier of real images sees what the models of study B make."""
    if not TEXT_TO_IMAGE or not TEXT_TO_IMAGE.classifier:
        return []
    return predictions("real", "rgb", TEXT_TO_IMAGE.classifier, TEXT_TO_IMAGE.seeds)


def distinguish_predictions():
    return [
        path
        for trial in CONFIG.trials
        for path in predictions(trial.comparison.name, trial.view, trial.classifier, trial.seeds)
    ]


def occlusion_maps(comparison):
    folder = f"{RESULTS}/occlusion/{comparison}/{DISTINGUISH.view}/{DISTINGUISH.classifiers[0]}"
    return f"{folder}/seed-{DISTINGUISH.seeds[0]}.safetensors"


def answers_of(quiz):
    return sorted(map(str, Path(PEOPLE.answers, quiz).glob("*.csv")))


def quizzes():
    names = [quiz.name for quiz in PEOPLE.quizzes] if PEOPLE else []
    return [f"{RESULTS}/people/{name}.html" for name in names]


def told_quizzes():
    """What the page tells of them."""
    names = [quiz.name for quiz in PEOPLE.quizzes] if PEOPLE else []
    return [
        {"name": name, "page": page, "answers": f"{PEOPLE.answers}/{name}"}
        for name, page in zip(names, quizzes())
    ]


def people():
    """The numbers of quizzes that somebody has answered."""
    names = [quiz.name for quiz in PEOPLE.quizzes] if PEOPLE else []
    return [f"{RESULTS}/people/{name}.json" for name in names if answers_of(name)]


def realism():
    """How the classifiers that steer judge, with and without their guidance."""
    return [
        f"{RESULTS}/realism/{guided}/{source}.json"
        for guided, plain in CONFIG.guided.items()
        for source in (plain, guided)
    ]


def drawn_sheets():
    """The images of the page: contact sheets, and where classifiers look."""
    sheets = [SHEET.format(sheet=sheet) for sheet in [*SHEETS, *casd_sheets()]]
    return [*sheets, *(f"{RESULTS}/figures/occlusion-{name}.png" for name in OCCLUDED)]


def leaks():
    return [
        f"{RESULTS}/leaks/{comparison}/{view}.json"
        for comparison, view in dict.fromkeys(
            (trial.comparison.name, trial.view)
            for trial in CONFIG.trials
            if trial.classifier == METADATA
        )
    ]


def spectra():
    sources = ["real", *CONFIG.compared_sources] if TRANSFER else []
    return [f"{RESULTS}/spectrum/{source}.parquet" for source in sources]


def sheet_rows(sheet):
    """The manifests that a contact sheet shows, by label."""
    if sheet == "sources":
        sources = ["real", *CONFIG.compared_sources]
        return {source: manifest(source, "test") for source in sources}
    if sheet == "models":
        shown = ["real", *CASD_SOURCES, *CASD_MODELS]
        return {source: manifest(source, "train") for source in shown}
    return {source: manifest(source, "train") for source in COMPOSITES}


def image_shards():
    """All images as they are made, before any view."""
    sources = ["real", *CONFIG.sources]
    sources = [(source, split) for source in sources for split in CONFIG.splits_of(source)]
    sources += [(composite, "train") for composite in COMPOSITES]
    return [tar for source, split in sources for tar in shards(source, split)]


def view_shards():
    """The views that a study trains and tests in, and those that the sheet of views shows."""
    shown = [(source, "test") for source in CONFIG.shown_sources]
    return [
        tar
        for view in CONFIG.views
        for source, split in dict.fromkeys(
            [
                (source, split)
                for source in CONFIG.sources_in(view)
                for split in CONFIG.splits_of(source)
            ]
            + shown
        )
        for tar in shards(source, split, view)
    ]


def compared_metrics(w):
    """The metrics table of the run to compare with, which `compare_with` names."""
    named = Path(CONFIG.compare_with or "")
    table = named if named.is_file() else named / "metrics.parquet"
    wrong = None
    if not CONFIG.compare_with:
        wrong = "name the other run's results: snakemake compare --config compare_with=FOLDER"
    elif table.resolve() == Path(METRICS).resolve():
        wrong = f"compare_with: {named} is the folder of this run itself"
    elif not table.is_file():
        wrong = f"compare_with: there is no {table}"
    if wrong:
        sys.exit(f"error: {wrong}")
    return str(table)


def carded_splits(source):
    return ["train"] if source in COMPOSITES else CONFIG.splits_of(source)


def downloaded_facts(w):
    """What the hub says of a model of which the config states no licence."""
    hub = CARDS[w.source].get("hub")
    return f"{CONFIG.downloads_folder}/{hub}.json" if hub else []


def example_sheets():
    """By kind of sheet, the files that its images are chosen from; see `choose_examples`."""
    sheets = {sheet: sheet_rows(sheet) for sheet in SHEETS if sheet != "views"}
    if CONFIG.views:
        sheets["views"] = {
            source: {view: manifest(source, "test", view) for view in ["rgb", *CONFIG.views]}
            for source in CONFIG.shown_sources
        }
    if CASD:
        sheets["models"] = sheet_rows("models")
    if CONFIG.shown_distribution:
        sheets |= among_real(CONFIG.shown_distribution)
    if CONFIG.replication:
        sheets["nearest"] = {
            "real": manifest("real", "train"),
            "metric": CONFIG.replication.metrics[0],
            "sources": {
                source: {
                    "manifest": manifest(source, "train"),
                    "nearest": f"{RESULTS}/replication/{source}.parquet",
                }
                for source in [*CONFIG.compared_sources, *CASD_MODELS]
            },
        }
    if TRANSFER and "rgb" in PROBES and PROBES["rgb"].view == "rgb":
        probe = PROBES["rgb"]
        sheets["mistaken"] = {
            "manifest": manifest("real", "test"),
            "test": "real",
            "predictions": {
                source: predictions(source, probe.view, probe.classifier, probe.seeds[:1])[0]
                for source in ["real", *CONFIG.compared_sources]
            },
        }
    if DISTINGUISH:
        sheets["taken"] = {
            trial.comparison.name: {
                "manifest": manifest(trial.comparison.name, "test", trial.view),
                "predictions": predictions(
                    trial.comparison.name, trial.view, trial.classifier, trial.seeds[:1]
                )[0],
            }
            for trial in CONFIG.trials
            if trial.axis == "main"
            and trial.classifier == DISTINGUISH.classifiers[0]
            and not trial.comparison.is_control
        }
    return sheets


def among_real(distribution):
    """What a distribution tells of single images: typical ones, and real ones left uncovered."""
    one = CONFIG.distributions[distribution]
    shown = [*CONFIG.compared_sources, *CASD_MODELS]
    sources = [source for source in CONFIG.measured_in(distribution) if source in shown]
    view = CONFIG.encoders[one.encoder].view
    items = {
        source: f"{RESULTS}/distribution/{distribution}/{source}.parquet" for source in sources
    }
    return {
        "typical": {
            source: {
                "manifest": manifest(source, one.split_of(source), view),
                "items": items[source],
            }
            for source in sources
        },
        "uncovered": {"real": manifest("real", one.split, view), "items": items},
    }


def files_among(value):
    """All paths in what `example_sheets` says."""
    if isinstance(value, dict):
        return [path for one in value.values() for path in files_among(one)]
    return [value] if isinstance(value, str) and value.startswith(f"{RESULTS}/") else []
