# GenEval and DPG-Bench: their images, laid out, looked at in environments of their own, scored.


wildcard_constraints:
    benchmark=any_of(BENCHMARKS) or "-",
    generator=any_of(CONFIG.generators),


rule write_benchmark_prompts:
    input:
        official=benchmark_file("prompts"),
        folder=benchmark_file("prompts_folder"),
        rewritten=benchmark_file("rewritten"),
    output:
        prompts=f"{COMPOSITIONAL}/prompts.parquet",
    log:
        f"{RESULTS}/logs/write_benchmark_prompts/{{benchmark}}/{{generator}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_benchmark_prompts/{{benchmark}}/{{generator}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        folder=benchmark_option("--prompts-folder", "folder"),
        rewritten=benchmark_option("--rewritten", "rewritten"),
        images=lambda w: BENCHMARKS[w.benchmark].images,
        few=few,
        seed=CONFIG.seed,
        code=code_digest("write_benchmark_prompts"),
    shell:
        "python $SYNTHGAP_SCRIPTS/write_benchmark_prompts.py --benchmark {wildcards.benchmark}"
        " --official {input.official} {params.folder} {params.rewritten} --images {params.images}"
        " {params.few} --source {wildcards.generator}-{wildcards.benchmark} --seed {params.seed}"
        " --prompts {output.prompts} --log {log}"


# The command `generate_images`, whose rule is for the studies' sources.
rule generate_benchmark_images:
    input:
        prompts=rules.write_benchmark_prompts.output.prompts,
        pipeline=lambda w: PIPELINES[w.generator],
        files=lambda w: PIPELINE_FILES[w.generator],
        scorer=lambda w: search_models(w.generator),
        scorer_files=lambda w: search_files(w.generator),
    output:
        tar=ensure(f"{COMPOSITIONAL}/images/{{shard}}.tar", non_empty=True),
        rows=f"{COMPOSITIONAL}/images/{{shard}}.parquet",
        facts=f"{COMPOSITIONAL}/images/{{shard}}.json",
    log:
        f"{RESULTS}/logs/generate_benchmark_images/{{benchmark}}/{{generator}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/generate_benchmark_images/{{benchmark}}/{{generator}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda w: CONFIG.generators[w.generator].threads
    resources:
        **needs(
            mem_mb=lambda w: GENERATOR_MB[w.generator],
            minutes=240,
            gpu=1,
            cpus=lambda w: CONFIG.generators[w.generator].threads,
        ),
        # No param: it shapes no image, and raising it must not make finished shards again.
        max_failed=lambda w: CONFIG.generators[w.generator].max_failed,
    params:
        generator=benchmark_generator_options,
        pipeline=lambda w, input: pipeline_in(input.pipeline, w.generator),
        shards=lambda w: BENCHMARKS[w.benchmark].shards,
        scorer=lambda w, input: f"--scorer-models {input.scorer}" if input.scorer else "",
        threads=lambda w: CONFIG.generators[w.generator].threads,
        code=lambda w: GENERATION_CODE[w.generator],
    shell:
        "python $SYNTHGAP_SCRIPTS/generate_images.py --prompts {input.prompts}"
        " --pipeline {params.pipeline} --generator {params.generator:q} {params.scorer}"
        " --shard {wildcards.shard} --shards {params.shards}"
        " --threads {params.threads} --gpus {resources.gpu} --max-failed {resources.max_failed}"
        " --scratch $SYNTHGAP_SCRATCH/generate_benchmark_images/{wildcards.benchmark}/"
        "{wildcards.generator}/{wildcards.shard} --tar {output.tar} --log {log}"


rule lay_out_benchmark:
    input:
        official=benchmark_file("prompts"),
        folder=benchmark_file("prompts_folder"),
        images=benchmark_images,
    output:
        folder=directory(f"{COMPOSITIONAL}/layout"),
    log:
        f"{RESULTS}/logs/lay_out_benchmark/{{benchmark}}/{{generator}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/lay_out_benchmark/{{benchmark}}/{{generator}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=60),
    params:
        folder=benchmark_option("--prompts-folder", "folder"),
        few=few,
        code=code_digest("lay_out_benchmark"),
    shell:
        "python $SYNTHGAP_SCRIPTS/lay_out_benchmark.py --benchmark {wildcards.benchmark}"
        " --official {input.official} {params.folder} --images {input.images} {params.few}"
        " --folder {output.folder} --log {log}"


rule detect_objects:
    input:
        layout=f"{RESULTS}/compositional/geneval/{{generator}}/layout",
        checkpoint=lambda w: BENCHMARKS["geneval"].detector,
        config=lambda w: BENCHMARKS["geneval"].detector_config or [],
        clip=lambda w: BENCHMARKS["geneval"].clip_folder or [],
    output:
        results=f"{RESULTS}/compositional/geneval/{{generator}}/results.jsonl",
    log:
        f"{RESULTS}/logs/detect_objects/{{generator}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/detect_objects/{{generator}}.tsv"
    conda:
        BENCHMARK_ENVIRONMENTS["geneval"]
    threads: 4
    resources:
        **needs(mem_mb=16000, minutes=240, gpu=1),
    params:
        config=benchmark_option("--config", "config"),
        clip=benchmark_option("--clip-folder", "clip"),
        code=code_digest("detect_objects"),
    shell:
        "python $SYNTHGAP_SCRIPTS/detect_objects.py --folder {input.layout}"
        " --checkpoint {input.checkpoint} {params.config} {params.clip} --gpus {resources.gpu}"
        " --results {output.results} --log {log}"


rule answer_questions:
    input:
        layout=f"{RESULTS}/compositional/dpg-bench/{{generator}}/layout",
        questions=lambda w: BENCHMARKS["dpg-bench"].prompts,
    output:
        answers=f"{RESULTS}/compositional/dpg-bench/{{generator}}/results.jsonl",
    log:
        f"{RESULTS}/logs/answer_questions/{{generator}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/answer_questions/{{generator}}.tsv"
    conda:
        BENCHMARK_ENVIRONMENTS["dpg-bench"]
    threads: 4
    resources:
        **needs(mem_mb=16000, minutes=480, gpu=1),
    params:
        model=lambda w: BENCHMARKS["dpg-bench"].model,
        code=code_digest("answer_questions"),
    shell:
        "python $SYNTHGAP_SCRIPTS/answer_questions.py --folder {input.layout}"
        " --questions {input.questions} --model {params.model} --gpus {resources.gpu}"
        " --answers {output.answers} --log {log}"


rule score_benchmark:
    input:
        prompts=benchmark_file("prompts"),
        results=f"{COMPOSITIONAL}/results.jsonl",
    output:
        metrics=f"{COMPOSITIONAL}/metrics.json",
    log:
        f"{RESULTS}/logs/score_benchmark/{{benchmark}}/{{generator}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/score_benchmark/{{benchmark}}/{{generator}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        few=few,
        rewritten=lambda w: "--rewritten" if BENCHMARKS[w.benchmark].rewritten else "",
        seed=CONFIG.seed,
        about=about_benchmark,
        code=code_digest("score_benchmark"),
    shell:
        "python $SYNTHGAP_SCRIPTS/score_benchmark.py --benchmark {wildcards.benchmark}"
        " --prompts {input.prompts} --results {input.results} {params.few} {params.rewritten}"
        " --about {params.about:q} --seed {params.seed} --output {output.metrics} --log {log}"
