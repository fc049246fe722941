# Features, distribution metrics, power spectra, captions, and the one long table.

from synthgap.encoders import modules_of as encoder_modules
from synthgap.scorers import modules_of as scorer_modules

CAPTION_SOURCES = [
    name for name in CONFIG.compared_sources if CONFIG.sources[name][1] in NEEDS_CAPTION
]


# Once, as thousands of jobs have the same.
ENCODER_OPTIONS = {name: as_json(encoder.options()) for name, encoder in CONFIG.encoders.items()}
ENCODER_CODE = {
    name: code_digest("extract_features", *encoder_modules(encoder.options()))
    for name, encoder in CONFIG.encoders.items()
}
ENCODER_MODELS = {name: encoder_model(name) for name in CONFIG.encoders}
ENCODER_FILES = {name: encoder_files(name) for name in CONFIG.encoders}


rule extract_features:
    input:
        images=lambda w: (
            f"{RESULTS}/images/{w.source}/{w.split}/{CONFIG.encoders[w.encoder].view}/{w.shard}.tar"
        ),
        model=lambda w: ENCODER_MODELS[w.encoder],
        files=lambda w: ENCODER_FILES[w.encoder],
    output:
        features=f"{RESULTS}/features/{{encoder}}/{{source}}/{{split}}/{{shard}}.parquet",
        facts=f"{RESULTS}/features/{{encoder}}/{{source}}/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/extract_features/{{encoder}}/{{source}}/{{split}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract_features/{{encoder}}/{{source}}/{{split}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: encoder_threads
    resources:
        **needs(mem_mb=8000, minutes=60, gpu=1, cpus=encoder_threads),
    params:
        encoder=lambda w: ENCODER_OPTIONS[w.encoder],
        threads=encoder_threads,
        code=lambda w: ENCODER_CODE[w.encoder],
    shell:
        "python $SYNTHGAP_SCRIPTS/extract_features.py --images {input.images}"
        " --encoder {params.encoder:q} --model {input.model} --threads {params.threads}"
        " --gpus {resources.gpu} --cache $SYNTHGAP_SCRATCH/features --features {output.features}"
        " --log {log}"


rule measure_reference:
    input:
        real=reference_features,
    output:
        reference=f"{RESULTS}/distribution/{{distribution}}/reference.safetensors",
    log:
        f"{RESULTS}/logs/measure_reference/{{distribution}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_reference/{{distribution}}.tsv"
    conda:
        ENVIRONMENT
    threads: distribution_threads
    resources:
        **needs(mem_mb=6000, minutes=120, gpu=1, cpus=distribution_threads),
    params:
        options=lambda w: distribution_options(w.distribution),
        code=code_digest("measure_reference"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_reference.py --real {input.real} {params.options}"
        " --gpus {resources.gpu} --reference {output.reference} --log {log}"


rule measure_distribution:
    input:
        real=reference_features,
        # The control: how real images of another split come out.
        generated=lambda w: features(
            CONFIG.distributions[w.distribution].encoder,
            w.source,
            CONFIG.distributions[w.distribution].split_of(w.source),
        ),
        reference=rules.measure_reference.output.reference,
    output:
        metrics=f"{RESULTS}/distribution/{{distribution}}/{{source}}.json",
        images=f"{RESULTS}/distribution/{{distribution}}/{{source}}.parquet",
    log:
        f"{RESULTS}/logs/measure_distribution/{{distribution}}/{{source}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_distribution/{{distribution}}/{{source}}.tsv"
    conda:
        ENVIRONMENT
    threads: distribution_threads
    resources:
        **needs(mem_mb=6000, minutes=120, gpu=1, cpus=distribution_threads),
    params:
        options=lambda w: distribution_options(w.distribution),
        few=lambda w: few_options(w.distribution, w.source),
        seed=CONFIG.seed,
        about=lambda w: as_json(about.distribution(CONFIG, w.distribution, w.source)),
        code=code_digest("measure_distribution"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_distribution.py --real {input.real}"
        " --generated {input.generated} --reference {input.reference} {params.options}"
        " {params.few} --gpus {resources.gpu} --seed {params.seed} --about {params.about:q}"
        " --items {output.images} --output {output.metrics} --log {log}"


SCORER_MODELS = {name: scorer_models(name) for name in CONFIG.scorers}
SCORER_FILES = {
    name: [file for path in scorer.local_models.values() for file in files_of(path)]
    for name, scorer in CONFIG.scorers.items()
}
SCORER_CODE = {
    name: code_digest("measure_alignment", *scorer_modules(scorer.options()))
    for name, scorer in CONFIG.scorers.items()
}


rule measure_alignment:
    input:
        images=lambda w: shards(w.synthetic, CONFIG.alignment.split),
        models=lambda w: list(SCORER_MODELS[w.scorer].values()),
        files=lambda w: SCORER_FILES[w.scorer],
    output:
        metrics=f"{RESULTS}/alignment/{{scorer}}/{{synthetic}}.json",
        scores=f"{RESULTS}/alignment/{{scorer}}/{{synthetic}}.parquet",
    log:
        f"{RESULTS}/logs/measure_alignment/{{scorer}}/{{synthetic}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_alignment/{{scorer}}/{{synthetic}}.tsv"
    conda:
        ENVIRONMENT
    threads: scorer_threads
    resources:
        **needs(mem_mb=16000, minutes=240, gpu=1, cpus=scorer_threads),
    params:
        scorer=lambda w: as_json(CONFIG.scorers[w.scorer].options()),
        models=lambda w: [f"{role}={path}" for role, path in SCORER_MODELS[w.scorer].items()],
        samples=(
            f"--samples {CONFIG.alignment.samples}"
            if CONFIG.alignment and CONFIG.alignment.samples
            else ""
        ),
        threads=scorer_threads,
        seed=CONFIG.seed,
        about=lambda w: as_json(about.images(CONFIG, "alignment", w.synthetic)),
        code=lambda w: SCORER_CODE[w.scorer],
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_alignment.py --images {input.images}"
        " --scorer {params.scorer:q} --model {params.models} {params.samples}"
        " --threads {params.threads} --gpus {resources.gpu} --seed {params.seed}"
        " --about {params.about:q} --scratch $SYNTHGAP_SCRATCH/"
        "measure_alignment/{wildcards.scorer}/{wildcards.synthetic}"
        " --scores {output.scores} --output {output.metrics} --log {log}"


rule measure_replication:
    input:
        real=shards("real", "train"),
        # The control: how near real test images, which were not trained on, come.
        generated=lambda w: shards(w.source, "test" if w.source == "real" else "train"),
        weights=replication_weights(),
        trained_on=lambda w: trained_on(w.source),
    output:
        metrics=f"{RESULTS}/replication/{{source}}.json",
        nearest=f"{RESULTS}/replication/{{source}}.parquet",
    log:
        f"{RESULTS}/logs/measure_replication/{{source}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_replication/{{source}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.replication.threads if CONFIG.replication else 1
    resources:
        **needs(
            mem_mb=8000,
            minutes=240,
            gpu=1,
            cpus=CONFIG.replication.threads if CONFIG.replication else 1,
        ),
    params:
        options=replication_options(),
        weights=lambda w, input: f"--weights {input.weights}" if input.weights else "",
        trained_on=lambda w, input: f"--trained-on {input.trained_on}" if input.trained_on else "",
        seed=CONFIG.seed,
        about=lambda w: as_json(about.images(CONFIG, "replication", w.source)),
        code=code_digest("measure_replication"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_replication.py --real {input.real}"
        " --generated {input.generated} {params.options} {params.weights} {params.trained_on}"
        " --gpus {resources.gpu} --seed {params.seed} --about {params.about:q}"
        " --scratch $SYNTHGAP_SCRATCH/measure_replication/{wildcards.source}"
        " --nearest {output.nearest} --output {output.metrics} --log {log}"


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
        samples=TRANSFER.spectrum_samples if TRANSFER else 0,
        seed=CONFIG.seed,
        about=lambda w: as_json(about.source(CONFIG, w.source)),
        code=code_digest("measure_spectrum"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_spectrum.py --manifest {input.manifest}"
        " --source {wildcards.source} --about {params.about:q} --samples {params.samples}"
        " --seed {params.seed} --metrics {output.metrics} --log {log}"


rule measure_captions:
    input:
        captions=captions(),
        images=shards("real", "train"),
        manifests=[manifest(source, CONFIG.splits_of(source)[0]) for source in CAPTION_SOURCES],
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
        transfer=[*transfer_predictions(), *axis_predictions("scaling", *CONFIG.mixings)],
        distinguish=distinguish_predictions(),
        recognised=recognitions(),
        measures=[
            *measures(),
            *compositional_measures(),
            *leaks(),
            *people(),
            *realism(),
            *casd_measures(),
        ],
        spectra=spectra(),
        captions=rules.measure_captions.output.metrics if CAPTIONED else [],
    output:
        metrics=METRICS,
        classes=f"{RESULTS}/classes.parquet",
    log:
        f"{RESULTS}/logs/collect_metrics.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_metrics.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=120),
    params:
        probes=as_json(about.probes(CONFIG)),
        trials=json.dumps(about.trials(CONFIG)),
        points=json.dumps(about.points(CONFIG)),
        recogniser=json.dumps(about.recogniser(CONFIG)),
        sources=as_json({name: about.source(CONFIG, name) for name in CONFIG.sources}),
        seed=CONFIG.seed,
        code=code_digest("collect_metrics"),
    shell:
        "python $SYNTHGAP_SCRIPTS/collect_metrics.py --transfer {input.transfer}"
        " --distinguish {input.distinguish} --recognised {input.recognised} --measures {input.measures}"
        " --spectra {input.spectra} --captions {input.captions}"
        " --probes {params.probes:q} --trials {params.trials:q} --points {params.points:q}"
        " --recogniser {params.recogniser:q} --sources {params.sources:q}"
        " --seed {params.seed} --metrics {output.metrics} --classes {output.classes} --log {log}"
