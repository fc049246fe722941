# Classifiers: trained on one data set, tested on others. A pair of sources is a data set too.


rule pair_sources:
    input:
        first=f"{RESULTS}/images/real/{{split}}/{{view}}/manifest.parquet",
        second=lambda w: manifest(w.second, w.split, w.view),
    output:
        manifest=f"{RESULTS}/images/real+{{second}}/{{split}}/{{view}}/manifest.parquet",
    log:
        f"{RESULTS}/logs/pair_sources/{{second}}/{{split}}/{{view}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pair_sources/{{second}}/{{split}}/{{view}}.tsv"
    wildcard_constraints:
        second=any_of(["real", *CONFIG.sources]),
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        images=lambda w: DISTINGUISH.images_per_class[w.split],
        seed=CONFIG.seed,
        code=code_digest("pair_sources"),
    shell:
        "python $SYNTHGAP_SCRIPTS/pair_sources.py --first {input.first} --second {input.second}"
        " --names real {wildcards.second} --images-per-class {params.images} --seed {params.seed}"
        " --manifest {output.manifest} --log {log}"


rule train_classifier:
    input:
        train=lambda w: manifest(w.dataset, "train", w.view),
        val=lambda w: manifest(w.dataset, "val", w.view),
    output:
        model=f"{CLASSIFIER}.safetensors",
        history=f"{CLASSIFIER}.json",
    log:
        f"{RESULTS}/logs/train_classifier/{{dataset}}/{{view}}/{{classifier}}/{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_classifier/{{dataset}}/{{view}}/{{classifier}}/{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: classifier_threads
    resources:
        **needs(mem_mb=TRAINING_MB, minutes=720, gpu=1, cpus=classifier_threads),
    params:
        architecture=lambda w: as_json(CONFIG.classifiers[w.classifier].architecture),
        recipe=lambda w: as_json(CONFIG.classifiers[w.classifier].recipe),
        threads=classifier_threads,
        code=code_digest("train_classifier"),
    shell:
        "python $SYNTHGAP_SCRIPTS/train_classifier.py --train {input.train} --val {input.val}"
        " --architecture {params.architecture:q} --recipe {params.recipe:q}"
        " --seed {wildcards.seed} --threads {params.threads} --gpus {resources.gpu}"
        " --checkpoint-seconds $SYNTHGAP_CHECKPOINT_SECONDS --scratch $SYNTHGAP_SCRATCH/"
        "train_classifier/{wildcards.dataset}/{wildcards.view}/{wildcards.classifier}/{wildcards.seed}"
        " --model {output.model} --history {output.history} --log {log}"


rule evaluate_classifier:
    input:
        model=f"{CLASSIFIER}.safetensors",
        tests=lambda w: [manifest(test, "test", w.view) for test in tests_of(w.dataset)],
    output:
        predictions=f"{RESULTS}/predictions/{{dataset}}/{{view}}/{{classifier}}/seed-{{seed}}.parquet",
    log:
        f"{RESULTS}/logs/evaluate_classifier/{{dataset}}/{{view}}/{{classifier}}/{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_classifier/{{dataset}}/{{view}}/{{classifier}}/{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: classifier_threads
    resources:
        **needs(mem_mb=4000, minutes=60, gpu=1, cpus=classifier_threads),
    params:
        tests=lambda w, input: [
            word
            for test, path in zip(tests_of(w.dataset), input.tests)
            for word in ("--test", f"{test}={path}")
        ],
        threads=classifier_threads,
        code=code_digest("evaluate_classifier"),
    shell:
        "python $SYNTHGAP_SCRIPTS/evaluate_classifier.py --model {input.model} {params.tests:q}"
        " --threads {params.threads} --gpus {resources.gpu} --predictions {output.predictions} --log {log}"
