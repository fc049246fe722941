# Diffusion models that learn from real and synthetic images (`edm_models`), and study D of them.


rule choose_images:
    input:
        real=manifest("real", "train"),
        synthetic=lambda w: [
            manifest(part.source, "train") for part in CONFIG.edm_models[w.edm].synthetic
        ],
    output:
        images=f"{RESULTS}/models/{{edm}}.images.parquet",
    log:
        f"{RESULTS}/logs/choose_images/{{edm}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/choose_images/{{edm}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        choice=lambda w: as_json(CONFIG.edm_models[w.edm].choice()),
        seed=CONFIG.seed,
        code=code_digest("choose_images"),
    shell:
        "python $SYNTHGAP_SCRIPTS/choose_images.py --real {input.real} --synthetic {input.synthetic}"
        " --choice {params.choice:q} --seed {params.seed} --images {output.images} --log {log}"


rule train_edm:
    input:
        images=rules.choose_images.output.images,
    output:
        pipeline=directory(f"{RESULTS}/models/{{edm}}"),
        history=f"{RESULTS}/models/{{edm}}.history.parquet",
    log:
        f"{RESULTS}/logs/train_edm/{{edm}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_edm/{{edm}}.tsv"
    priority: 50
    conda:
        ENVIRONMENT
    threads: edm_threads
    resources:
        **needs(mem_mb=16000, minutes=2880, gpu=1, cpus=edm_threads),
    params:
        model=lambda w: as_json(CONFIG.edm_models[w.edm].options()),
        threads=edm_threads,
        code=code_digest("train_edm"),
    shell:
        "python $SYNTHGAP_SCRIPTS/train_edm.py --images {input.images} --model {params.model:q}"
        " --threads {params.threads} --gpus {resources.gpu}"
        " --checkpoint-seconds $SYNTHGAP_CHECKPOINT_SECONDS"
        " --scratch $SYNTHGAP_SCRATCH/train_edm/{wildcards.edm}"
        " --pipeline {output.pipeline} --history {output.history} --log {log}"


rule measure_memorised:
    input:
        nearest=f"{RESULTS}/replication/{{source}}.parquet",
    output:
        metrics=f"{RESULTS}/memorised/{{source}}.json",
    log:
        f"{RESULTS}/logs/measure_memorised/{{source}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_memorised/{{source}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        thresholds=as_json(THRESHOLDS),
        about=lambda w: as_json(about.images(CONFIG, "casd", w.source)),
        code=code_digest("measure_memorised"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_memorised.py --nearest {input.nearest}"
        " --thresholds {params.thresholds:q} --about {params.about:q}"
        " --output {output.metrics} --log {log}"


rule count_classes:
    input:
        model=counting_classifier(),
        # Of real images those that the classifier did not learn from.
        images=lambda w: manifest(w.source, "test" if w.source == "real" else "train"),
    output:
        metrics=f"{RESULTS}/class_shares/{{source}}.json",
    log:
        f"{RESULTS}/logs/count_classes/{{source}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/count_classes/{{source}}.tsv"
    conda:
        ENVIRONMENT
    threads: COUNTING_THREADS
    resources:
        **needs(mem_mb=6000, minutes=120, gpu=1),
    params:
        wanted=lambda w: (
            list(CASD_MODELS[w.source].classes or []) if w.source in CASD_MODELS else []
        ),
        threads=COUNTING_THREADS,
        about=lambda w: as_json(about.images(CONFIG, "casd", w.source)),
        code=code_digest("count_classes"),
    shell:
        "python $SYNTHGAP_SCRIPTS/count_classes.py --model {input.model} --images {input.images}"
        " --wanted {params.wanted} --threads {params.threads} --gpus {resources.gpu}"
        " --about {params.about:q} --output {output.metrics} --log {log}"


rule draw_nearest:
    input:
        real=manifest("real", "train"),
        generated=[manifest(source, "train") for source in CASD_MODELS],
        nearest=[f"{RESULTS}/replication/{source}.parquet" for source in CASD_MODELS],
    output:
        sheet=report(
            f"{RESULTS}/figures/contact-nearest.png",
            caption="../report/nearest.rst",
            category="Images",
            labels={"sheet": "nearest training images"},
        ),
    log:
        f"{RESULTS}/logs/draw_nearest.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_nearest.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        labels=list(CASD_MODELS),
        # LPIPS where there is one: it sees what people see.
        metric="lpips" if CONFIG.replication and "lpips" in CONFIG.replication.metrics else "ssim",
        code=code_digest("draw_nearest"),
    shell:
        "python $SYNTHGAP_SCRIPTS/draw_nearest.py --real {input.real} --generated {input.generated}"
        " --nearest {input.nearest} --labels {params.labels:q} --metric {params.metric}"
        " --sheet {output.sheet} --log {log}"
