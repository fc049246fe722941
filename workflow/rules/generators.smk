# Text-to-image models: trained here where the config says so, and called.


rule train_generator:
    input:
        manifest=manifest("real", "train"),
        captions=captions(),
    output:
        pipeline=directory(f"{RESULTS}/models/{{trained}}"),
    log:
        f"{RESULTS}/logs/train_generator/{{trained}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_generator/{{trained}}.tsv"
    conda:
        ENVIRONMENT
    params:
        model=lambda w: as_json(CONFIG.trained_models[w.trained]),
        checkpoint_seconds=CONFIG.checkpoint_seconds,
        scratch=f"{SCRATCH}/train_generator/{{trained}}",
        code=code_digest("train_generator"),
    shell:
        "python $SYNTHGAP_SCRIPTS/train_generator.py --manifest {input.manifest}"
        " --captions {input.captions} --model {params.model:q}"
        " --checkpoint-seconds {params.checkpoint_seconds} --scratch {params.scratch}"
        " --pipeline {output.pipeline} --log {log}"


rule generate_images:
    input:
        prompts=f"{RESULTS}/prompts/{{synthetic}}/{{split}}.parquet",
        pipeline=lambda w: pipeline_of(w.synthetic),
    output:
        tar=ensure(f"{RESULTS}/images/{{synthetic}}/{{split}}/rgb/{{shard}}.tar", non_empty=True),
        rows=f"{RESULTS}/images/{{synthetic}}/{{split}}/rgb/{{shard}}.parquet",
        facts=f"{RESULTS}/images/{{synthetic}}/{{split}}/rgb/{{shard}}.json",
    log:
        f"{RESULTS}/logs/generate_images/{{synthetic}}-{{split}}-{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/generate_images/{{synthetic}}-{{split}}-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda w: generator_of(w.synthetic).threads
    params:
        model=lambda w: pipeline_of(w.synthetic) or generator_of(w.synthetic).model,
        generator=lambda w: as_json(CONFIG.generator_options(CONFIG.sources[w.synthetic][0])),
        shards=lambda w: CONFIG.synthetic.shards[w.split],
        max_failed=lambda w: generator_of(w.synthetic).max_failed,
        threads=lambda w: generator_of(w.synthetic).threads,
        scratch=f"{SCRATCH}/generate_images/{{synthetic}}/{{split}}/{{shard}}",
        code=code_digest("generate_images"),
    shell:
        "python $SYNTHGAP_SCRIPTS/generate_images.py --prompts {input.prompts} --model {params.model:q}"
        " --generator {params.generator:q} --shard {wildcards.shard} --shards {params.shards}"
        " --max-failed {params.max_failed} --threads {params.threads} --scratch {params.scratch}"
        " --tar {output.tar} --log {log}"
