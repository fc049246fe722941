# Real images into shards, and the manifests of all sources.


rule index_real:
    output:
        index=f"{RESULTS}/real/index.parquet",
    log:
        f"{RESULTS}/logs/index_real.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_real.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=60),
    params:
        dataset=real_options("dataset", "folder", "class_names", "val_fraction", "test_fraction"),
        seed=CONFIG.seed,
        code=code_digest("index_real"),
    shell:
        "python $SYNTHGAP_SCRIPTS/index_real.py --dataset {params.dataset:q} --seed {params.seed}"
        " --index {output.index} --log {log}"


rule prepare_real:
    input:
        index=rules.index_real.output.index,
    output:
        tar=ensure(f"{RESULTS}/images/real/{{split}}/rgb/{{shard}}.tar", non_empty=True),
        rows=f"{RESULTS}/images/real/{{split}}/rgb/{{shard}}.parquet",
        facts=f"{RESULTS}/images/real/{{split}}/rgb/{{shard}}.json",
    log:
        f"{RESULTS}/logs/prepare_real/{{split}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare_real/{{split}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=120),
    params:
        dataset=real_options(
            "dataset", "folder", "class_names", "image_size", "image_format", "max_unreadable"
        ),
        shards=lambda w: CONFIG.real.shards[w.split],
        code=code_digest("prepare_real"),
    shell:
        "python $SYNTHGAP_SCRIPTS/prepare_real.py --index {input.index} --dataset {params.dataset:q}"
        " --split {wildcards.split} --shard {wildcards.shard} --shards {params.shards}"
        " --tar {output.tar} --log {log}"


rule gather_shards:
    input:
        tars=lambda w: shards(w.source, w.split, w.view),
    output:
        manifest=f"{IMAGES}/manifest.parquet",
    log:
        f"{RESULTS}/logs/gather_shards/{{source}}/{{split}}/{{view}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather_shards/{{source}}/{{split}}/{{view}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=60),
        # No param: what fails is counted all the same, and raising it must not rerun what follows.
        max_failed=lambda w: (
            generator_of(w.source).max_failed
            if w.source in CONFIG.sources
            else CONFIG.real.max_unreadable
        ),
    params:
        code=code_digest("gather_shards"),
    shell:
        "python $SYNTHGAP_SCRIPTS/gather_shards.py --tars {input.tars} --max-failed {resources.max_failed}"
        " --manifest {output.manifest} --log {log}"
