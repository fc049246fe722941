# Text-to-image models: trained here where the config says so, and called.


def model_of(wildcards):
    """The pipeline folder that the workflow makes, or nothing where the model comes from outside."""
    generator = CONFIG.generators[CONFIG.sources[wildcards.synthetic][0]]
    return f"{RESULTS}/models/{generator.trained}" if generator.trained else []


def generator_param(wildcards):
    return CONFIG.generators[CONFIG.sources[wildcards.synthetic][0]]


rule train_generator:
    input:
        manifest=manifest("real", "train"),
        captions=captions(),
    output:
        pipeline=directory(f"{RESULTS}/models/{{trained}}"),
    params:
        model=lambda w: as_json(CONFIG.trained_models[w.trained]),
        scratch=f"{SCRATCH}/train_generator/{{trained}}",
        code=code_digest("train_generator"),
    log:
        f"{RESULTS}/logs/train_generator/{{trained}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_generator/{{trained}}.tsv"
    shell:
        "python {SCRIPTS}/train_generator.py --manifest {input.manifest}"
        " --captions {input.captions} --model {params.model:q}"
        " --checkpoint-seconds {CONFIG.checkpoint_seconds} --scratch {params.scratch}"
        " --pipeline {output.pipeline} --log {log}"


rule generate_images:
    input:
        prompts=f"{RESULTS}/prompts/{{synthetic}}/{{split}}.parquet",
        pipeline=model_of,
    output:
        tar=ensure(f"{RESULTS}/images/{{synthetic}}/{{split}}/rgb/{{shard}}.tar", non_empty=True),
        rows=f"{RESULTS}/images/{{synthetic}}/{{split}}/rgb/{{shard}}.parquet",
        facts=f"{RESULTS}/images/{{synthetic}}/{{split}}/rgb/{{shard}}.json",
    params:
        model=lambda w: model_of(w) or generator_param(w).model,
        generator=lambda w: as_json(CONFIG.generator_options(CONFIG.sources[w.synthetic][0])),
        shards=lambda w: CONFIG.synthetic.shards[w.split],
        max_failed=lambda w: generator_param(w).max_failed,
        threads=lambda w: generator_param(w).threads,
        scratch=f"{SCRATCH}/generate_images/{{synthetic}}/{{split}}/{{shard}}",
        code=code_digest("generate_images"),
    threads: lambda w: generator_param(w).threads
    log:
        f"{RESULTS}/logs/generate_images/{{synthetic}}-{{split}}-{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/generate_images/{{synthetic}}-{{split}}-{{shard}}.tsv"
    shell:
        "python {SCRIPTS}/generate_images.py --prompts {input.prompts} --model {params.model:q}"
        " --generator {params.generator:q} --shard {wildcards.shard} --shards {params.shards}"
        " --max-failed {params.max_failed} --threads {params.threads} --scratch {params.scratch}"
        " --tar {output.tar} --log {log}"
