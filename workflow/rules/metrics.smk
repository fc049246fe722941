# Features, distribution metrics, power spectra, captions, and the one long table.


CAPTION_SOURCES = [name for name, (_, kind) in CONFIG.sources.items() if kind == "caption"]


rule extract_features:
    input:
        model="{}.safetensors".format(
            CLASSIFIER.format(
                dataset="real",
                view=ENCODER.view,
                classifier=ENCODER.classifier,
                seed=ENCODER.seeds[0],
            )
        ),
        manifest=lambda w: manifest(w.source, w.split, ENCODER.view),
    output:
        features=f"{RESULTS}/features/{{source}}/{{split}}.parquet",
    log:
        f"{RESULTS}/logs/extract_features/{{source}}/{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract_features/{{source}}/{{split}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.classifiers[ENCODER.classifier].threads
    resources:
        **needs(mem_mb=4000, minutes=60, gpu=1, cpus=CONFIG.classifiers[ENCODER.classifier].threads),
    params:
        threads=CONFIG.classifiers[ENCODER.classifier].threads,
        code=code_digest("extract_features"),
    shell:
        "python $SYNTHGAP_SCRIPTS/extract_features.py --model {input.model} --manifest {input.manifest}"
        " --threads {params.threads} --gpus {resources.gpu} --features {output.features} --log {log}"


rule measure_distribution:
    input:
        real=f"{RESULTS}/features/real/train.parquet",
        # The control: how real test images, which are no training images, come out.
        other=lambda w: (
            f"{RESULTS}/features/{w.source}/{'test' if w.source == 'real' else 'train'}.parquet"
        ),
    output:
        metrics=f"{RESULTS}/distribution/{{source}}.parquet",
    log:
        f"{RESULTS}/logs/measure_distribution/{{source}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_distribution/{{source}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=120),
    params:
        samples=TRANSFER.distribution_samples,
        neighbours=TRANSFER.neighbours,
        seed=CONFIG.seed,
        encoder=f"real-{TRANSFER.encoder}-{ENCODER.classifier}",
        about=lambda w: as_json(CONFIG.about_source(w.source)),
        view=ENCODER.view,
        code=code_digest("measure_distribution"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_distribution.py --real {input.real} --other {input.other}"
        " --source {wildcards.source} --about {params.about:q} --encoder {params.encoder}"
        " --view {params.view} --samples {params.samples} --neighbours {params.neighbours}"
        " --seed {params.seed} --metrics {output.metrics} --log {log}"


rule measure_spectrum:
    input:
        manifest=lambda w: manifest(w.source, "train"),
    output:
        metrics=f"{RESULTS}/spectrum/{{source}}.parquet",
    log:
        f"{RESULTS}/logs/measure_spectrum/{{source}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_spectrum/{{source}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=120),
    params:
        samples=TRANSFER.distribution_samples,
        seed=CONFIG.seed,
        about=lambda w: as_json(CONFIG.about_source(w.source)),
        code=code_digest("measure_spectrum"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_spectrum.py --manifest {input.manifest}"
        " --source {wildcards.source} --about {params.about:q} --samples {params.samples}"
        " --seed {params.seed} --metrics {output.metrics} --log {log}"


rule measure_captions:
    input:
        captions=captions(),
        images=shards("real", "train"),
        manifests=[manifest(source, "train") for source in CAPTION_SOURCES],
    output:
        metrics=f"{RESULTS}/captions/statistics.parquet",
        sample=f"{RESULTS}/captions/sample.parquet",
    log:
        f"{RESULTS}/logs/measure_captions.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_captions.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=120),
    params:
        sources=CAPTION_SOURCES,
        samples=12,
        seed=CONFIG.seed,
        code=code_digest("measure_captions"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_captions.py --captions {input.captions}"
        " --images {input.images} --manifests {input.manifests} --sources {params.sources}"
        " --samples {params.samples} --seed {params.seed} --metrics {output.metrics}"
        " --sample {output.sample} --log {log}"


rule collect_metrics:
    input:
        transfer=transfer_predictions(),
        distinguish=distinguish_predictions(),
        distributions=distributions(),
        spectra=spectra(),
        captions=rules.measure_captions.output.metrics if CAPTIONED else [],
    output:
        metrics=METRICS,
    log:
        f"{RESULTS}/logs/collect_metrics.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_metrics.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=120),
    params:
        probes=as_json(CONFIG.about_probes()),
        sources=as_json({name: CONFIG.about_source(name) for name in CONFIG.sources}),
        seed=CONFIG.seed,
        code=code_digest("collect_metrics"),
    shell:
        "python $SYNTHGAP_SCRIPTS/collect_metrics.py --transfer {input.transfer}"
        " --distinguish {input.distinguish} --distributions {input.distributions}"
        " --spectra {input.spectra} --captions {input.captions}"
        " --probes {params.probes:q} --sources {params.sources:q}"
        " --seed {params.seed} --metrics {output.metrics} --log {log}"
