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
        code=code_digest("train_generator"),
    shell:
        "python $SYNTHGAP_SCRIPTS/train_generator.py --manifest {input.manifest}"
        " --captions {input.captions} --model {params.model:q}"
        " --checkpoint-seconds $SYNTHGAP_CHECKPOINT_SECONDS"
        " --scratch $SYNTHGAP_SCRATCH/train_generator/{wildcards.trained}"
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
        f"{RESULTS}/logs/generate_images/{{synthetic}}/{{split}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/generate_images/{{synthetic}}/{{split}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda w: generator_of(w.synthetic).threads
    params:
        model=lambda w: pipeline_of(w.synthetic) or generator_of(w.synthetic).model,
        generator=lambda w: as_json(CONFIG.generator_options(CONFIG.sources[w.synthetic][0])),
        shards=lambda w: CONFIG.synthetic.shards[w.split],
        threads=lambda w: generator_of(w.synthetic).threads,
        code=code_digest("generate_images"),
    shell:
        "python $SYNTHGAP_SCRIPTS/generate_images.py --prompts {input.prompts} --model {params.model:q}"
        " --generator {params.generator:q} --shard {wildcards.shard} --shards {params.shards}"
        " --threads {params.threads} --scratch $SYNTHGAP_SCRATCH/"
        "generate_images/{wildcards.synthetic}/{wildcards.split}/{wildcards.shard}"
        " --tar {output.tar} --log {log}"
