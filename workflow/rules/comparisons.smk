# Study C: sources that are told apart, by networks, linear probes, files alone, and people.

QUIZZES = {quiz.name: quiz for quiz in PEOPLE.quizzes} if PEOPLE else {}


rule compare_sources:
    input:
        **{
            split: lambda w, split=split: [
                manifest(source, split, w.view) for source in COMPARISONS[w.comparison].sources
            ]
            for split in SPLITS
        },
    output:
        manifests=[
            f"{RESULTS}/images/{{comparison}}/{split}/{{view}}/manifest.parquet"
            for split in SPLITS
        ],
    log:
        f"{RESULTS}/logs/compare_sources/{{comparison}}/{{view}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_sources/{{comparison}}/{{view}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=60),
    params:
        sources=lambda w: COMPARISONS[w.comparison].sources,
        images=lambda w: COMPARISONS[w.comparison].images(DISTINGUISH),
        at_most=lambda w: ("--at-most" if COMPARISONS[w.comparison].is_large(DISTINGUISH) else ""),
        seed=CONFIG.seed,
        code=code_digest("compare_sources"),
    shell:
        "python $SYNTHGAP_SCRIPTS/compare_sources.py --sources {params.sources}"
        " --train {input.train} --val {input.val} --test {input.test}"
        " --images-per-class {params.images} {params.at_most} --seed {params.seed}"
        " --manifests {output.manifests} --log {log}"


rule check_leaks:
    input:
        **{
            split: f"{RESULTS}/images/{{comparison}}/{split}/{{view}}/manifest.parquet"
            for split in SPLITS
        },
    output:
        measures=f"{RESULTS}/leaks/{{comparison}}/{{view}}.json",
        headers=f"{RESULTS}/predictions/{{comparison}}/{{view}}/{HEADERS}/seed-0.parquet",
        metadata=f"{RESULTS}/predictions/{{comparison}}/{{view}}/{METADATA}/seed-0.parquet",
    log:
        f"{RESULTS}/logs/check_leaks/{{comparison}}/{{view}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_leaks/{{comparison}}/{{view}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=60),
    params:
        about=lambda w: as_json(about.leaks(CONFIG, w.comparison, w.view)),
        seed=CONFIG.seed,
        code=code_digest("check_leaks"),
    shell:
        "python $SYNTHGAP_SCRIPTS/check_leaks.py --train {input.train} --val {input.val}"
        " --test {input.test} --name {wildcards.comparison} --about {params.about:q} --seed {params.seed}"
        " --measures {output.measures} --headers {output.headers} --metadata {output.metadata}"
        " --log {log}"


rule train_linear_probe:
    input:
        **{
            split: f"{RESULTS}/images/{{comparison}}/{split}/{{view}}/manifest.parquet"
            for split in SPLITS
        },
        **{
            f"{split}_features": lambda w, split=split: [
                path
                for source in dict.fromkeys(COMPARISONS[w.comparison].sources)
                for path in features(w.encoder, source, split)
            ]
            for split in SPLITS
        },
    output:
        predictions=f"{RESULTS}/predictions/{{comparison}}/{{view}}/{LINEAR}{{encoder}}/seed-0.parquet",
    log:
        f"{RESULTS}/logs/train_linear_probe/{{comparison}}/{{view}}/{{encoder}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_linear_probe/{{comparison}}/{{view}}/{{encoder}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=8000, minutes=240),
    params:
        features=lambda w: [
            word
            for split in SPLITS
            for source in COMPARISONS[w.comparison].sources
            for word in (f"--{split}-features", *features(w.encoder, source, split))
        ],
        code=code_digest("train_linear_probe"),
    shell:
        "python $SYNTHGAP_SCRIPTS/train_linear_probe.py --train {input.train} --val {input.val}"
        " --test {input.test} {params.features} --name {wildcards.comparison}"
        " --scratch $SYNTHGAP_SCRATCH/train_linear_probe/{wildcards.comparison}/{wildcards.view}/{wildcards.encoder}"
        " --predictions {output.predictions} --log {log}"


rule map_occlusion:
    input:
        model=f"{RESULTS}/classifiers/{{comparison}}/{{view}}/{{classifier}}/seed-{{seed}}.safetensors",
        test=f"{RESULTS}/images/{{comparison}}/test/{{view}}/manifest.parquet",
    output:
        maps=f"{RESULTS}/occlusion/{{comparison}}/{{view}}/{{classifier}}/seed-{{seed}}.safetensors",
    log:
        f"{RESULTS}/logs/map_occlusion/{{comparison}}/{{view}}/{{classifier}}/{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/map_occlusion/{{comparison}}/{{view}}/{{classifier}}/{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: classifier_threads
    resources:
        **needs(mem_mb=8000, minutes=120, gpu=1, cpus=classifier_threads),
    params:
        images=DISTINGUISH.occlusion.images if OCCLUDED else 0,
        patch=DISTINGUISH.occlusion.patch if OCCLUDED else 0,
        stride=DISTINGUISH.occlusion.stride if OCCLUDED else 0,
        seed=CONFIG.seed,
        threads=classifier_threads,
        code=code_digest("map_occlusion"),
    shell:
        "python $SYNTHGAP_SCRIPTS/map_occlusion.py --model {input.model} --test {input.test}"
        " --images {params.images} --patch {params.patch} --stride {params.stride}"
        " --seed {params.seed} --threads {params.threads} --gpus {resources.gpu}"
        " --maps {output.maps} --log {log}"


rule draw_occlusion:
    input:
        maps=lambda w: occlusion_maps(w.comparison),
        test=lambda w: manifest(w.comparison, "test", DISTINGUISH.view),
    output:
        sheet=report(
            f"{RESULTS}/figures/occlusion-{{comparison}}.png",
            caption="../report/occlusion.rst",
            category="Images",
            labels={"sheet": "where classifiers look: {comparison}"},
        ),
    log:
        f"{RESULTS}/logs/draw_occlusion/{{comparison}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_occlusion/{{comparison}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        code=code_digest("draw_occlusion"),
    shell:
        "python $SYNTHGAP_SCRIPTS/draw_occlusion.py --maps {input.maps} --test {input.test}"
        " --figure {output.sheet} --log {log}"


rule write_quiz:
    input:
        first=lambda w: manifest(QUIZZES[w.quiz].sources[0], "test"),
        second=lambda w: manifest(QUIZZES[w.quiz].sources[1], "test"),
    output:
        quiz=f"{RESULTS}/people/{{quiz}}.html",
        key=f"{RESULTS}/people/{{quiz}}.key.json",
    log:
        f"{RESULTS}/logs/write_quiz/{{quiz}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_quiz/{{quiz}}.tsv"
    wildcard_constraints:
        quiz=any_of(QUIZZES) or "-",
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        sources=lambda w: QUIZZES[w.quiz].sources,
        question=lambda w: QUIZZES[w.quiz].asked,
        references=lambda w: QUIZZES[w.quiz].references,
        pairs=PEOPLE.pairs if PEOPLE else 0,
        seed=CONFIG.seed,
        code=code_digest("write_quiz"),
    shell:
        "python $SYNTHGAP_SCRIPTS/write_quiz.py --first {params.sources[0]}={input.first}"
        " --second {params.sources[1]}={input.second} --question {params.question:q}"
        " --pairs {params.pairs} --references {params.references} --seed {params.seed}"
        " --quiz {output.quiz} --key {output.key} --log {log}"


rule measure_people:
    input:
        key=f"{RESULTS}/people/{{quiz}}.key.json",
        answers=lambda w: answers_of(w.quiz),
    output:
        measures=f"{RESULTS}/people/{{quiz}}.json",
    log:
        f"{RESULTS}/logs/measure_people/{{quiz}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_people/{{quiz}}.tsv"
    wildcard_constraints:
        quiz=any_of(QUIZZES) or "-",
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=1000, minutes=30),
    params:
        about=lambda w: as_json(about.people(CONFIG, QUIZZES[w.quiz].sources)),
        seed=CONFIG.seed,
        code=code_digest("measure_people"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_people.py --key {input.key} --answers {input.answers:q}"
        " --about {params.about:q} --seed {params.seed} --output {output.measures} --log {log}"


rule measure_realism:
    input:
        model=f"{RESULTS}/realism/{{guided}}.safetensors",
        pipeline=lambda w: PIPELINES[CONFIG.sources[w.guided][0]],
        files=lambda w: PIPELINE_FILES[CONFIG.sources[w.guided][0]],
        images=f"{RESULTS}/images/{{synthetic}}/test/rgb/manifest.parquet",
    output:
        measures=f"{RESULTS}/realism/{{guided}}/{{synthetic}}.json",
    log:
        f"{RESULTS}/logs/measure_realism/{{guided}}/{{synthetic}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_realism/{{guided}}/{{synthetic}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda w: realism_of(w.guided).threads
    resources:
        **needs(mem_mb=8000, minutes=60, gpu=1, cpus=lambda w: realism_of(w.guided).threads),
    params:
        generator=lambda w: GENERATOR_OPTIONS[CONFIG.sources[w.guided][0]],
        about=lambda w: as_json(about.realism(CONFIG, w.guided, w.synthetic)),
        seed=CONFIG.seed,
        threads=lambda w: realism_of(w.guided).threads,
        code=code_digest("measure_realism"),
    shell:
        "python $SYNTHGAP_SCRIPTS/measure_realism.py --model {input.model}"
        " --pipeline {input.pipeline} --generator {params.generator:q} --images {input.images}"
        " --about {params.about:q} --seed {params.seed} --threads {params.threads}"
        " --gpus {resources.gpu} --output {output.measures} --log {log}"
