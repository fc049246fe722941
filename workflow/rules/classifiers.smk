# Classifiers: trained on one data set, tested on others. Parts of sources to learn from (a blend) and
# sources to tell apart (a comparison) are data sets too.

# What networks start from, where it is not chance.
STARTED = {name: one.weights for name, one in CONFIG.classifiers.items() if one.weights}
STARTS = {name: model_folder(weights) for name, weights in STARTED.items()}
START_FILES = {name: model_files(weights) for name, weights in STARTED.items()}


rule blend_sources:
    input:
        manifests=lambda w: [
            manifest(source, w.split, w.view) for source in CONFIG.blends[w.blend].shares
        ],
        like=lambda w: (manifest("real", w.split, w.view) if CONFIG.blends[w.blend].to_real else []),
    output:
        manifest=f"{RESULTS}/images/{{blend}}/{{split}}/{{view}}/manifest.parquet",
    log:
        f"{RESULTS}/logs/blend_sources/{{blend}}/{{split}}/{{view}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/blend_sources/{{blend}}/{{split}}/{{view}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        parts=lambda w, input: [
            word
            for (source, share), path in zip(
                CONFIG.blends[w.blend].shares.items(), input.manifests
            )
            for word in ("--part", f"{source}={share}={path}")
        ],
        like=lambda w, input: f"--like {input.like}" if input.like else "",
        # Validation images in the same proportions, but as many as there are.
        fill=lambda w: "--fill" if w.split != "train" else "",
        given=lambda w: " ".join(f"--given {source}" for source in CONFIG.blends[w.blend].given),
        seed=CONFIG.seed,
        code=code_digest("blend_sources"),
    shell:
        "python $SYNTHGAP_SCRIPTS/blend_sources.py {params.parts:q} {params.like} {params.fill}"
        " {params.given} --seed {params.seed} --manifest {output.manifest} --log {log}"


rule train_classifier:
    input:
        train=lambda w: manifest(w.dataset, "train", w.view),
        val=lambda w: manifest(w.dataset, "val", w.view),
        weights=lambda w: STARTS.get(w.classifier, []),
        files=lambda w: START_FILES.get(w.classifier, []),
    output:
        model=f"{CLASSIFIER}.safetensors",
        last=f"{CLASSIFIER}.last.safetensors",
        history=f"{CLASSIFIER}.history.parquet",
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
        weights=lambda w, input: f"--weights {input.weights}" if input.weights else "",
        recipe=lambda w: as_json(CONFIG.classifiers[w.classifier].recipe),
        threads=classifier_threads,
        code=code_digest("train_classifier"),
    shell:
        "python $SYNTHGAP_SCRIPTS/train_classifier.py --train {input.train} --val {input.val}"
        " --architecture {params.architecture:q} {params.weights} --recipe {params.recipe:q}"
        " --seed {wildcards.seed} --threads {params.threads} --gpus {resources.gpu}"
        " --checkpoint-seconds $SYNTHGAP_CHECKPOINT_SECONDS --scratch $SYNTHGAP_SCRATCH/"
        "train_classifier/{wildcards.dataset}/{wildcards.view}/{wildcards.classifier}/{wildcards.seed}"
        " --model {output.model} --last {output.last} --history {output.history} --log {log}"


rule evaluate_classifier:
    input:
        model=f"{CLASSIFIER}.safetensors",
        tests=lambda w: [manifest(test, "test", w.view) for test in tests_of(w.dataset, w.view)],
        # Of probabilities of its answers, too, studies say something.
        calibration=lambda w: manifest(w.dataset, "val", w.view) if w.dataset in COMPARISONS else [],
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
            for test, path in zip(tests_of(w.dataset, w.view), input.tests)
            for word in ("--test", f"{test}={path}")
        ],
        shown=lambda w: [
            word
            for test, source in judged(w.dataset, w.view).items()
            for word in ("--shown", f"{test}={source}")
        ],
        calibration=lambda w, input: (
            f"--calibration {input.calibration}" if input.calibration else ""
        ),
        threads=classifier_threads,
        code=code_digest("evaluate_classifier"),
    shell:
        "python $SYNTHGAP_SCRIPTS/evaluate_classifier.py --model {input.model} {params.tests:q}"
        " {params.shown} {params.calibration} --threads {params.threads} --gpus {resources.gpu} --predictions {output.predictions} --log {log}"
