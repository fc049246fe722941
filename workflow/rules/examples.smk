# The images of the page.


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


EXAMPLE_SHEETS = example_sheets()


rule choose_examples:
    input:
        files=list(dict.fromkeys(files_among(EXAMPLE_SHEETS))),
        captions=[
            table
            for split in (CONFIG.caption_splits("real") if "real" in CAPTIONED else [])
            for table in captions("real", split)
        ],
    output:
        examples=f"{RESULTS}/examples.parquet",
    log:
        f"{RESULTS}/logs/choose_examples.log",
    benchmark:
        f"{RESULTS}/benchmarks/choose_examples.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=60),
    params:
        # In the order of the config, which is that of the page.
        sheets=json.dumps(EXAMPLE_SHEETS),
        code=code_digest("choose_examples"),
    shell:
        "python $SYNTHGAP_SCRIPTS/choose_examples.py --sheets {params.sheets:q}"
        " --captions {input.captions} --examples {output.examples} --log {log}"
