# CutMix composites of real training images (paper B, appendix E).


rule composite_images:
    input:
        manifest=manifest("real", "train"),
    output:
        tar=ensure(f"{RESULTS}/images/cutmix-{{pattern}}/train/rgb/{{shard}}.tar", non_empty=True),
        rows=f"{RESULTS}/images/cutmix-{{pattern}}/train/rgb/{{shard}}.parquet",
        facts=f"{RESULTS}/images/cutmix-{{pattern}}/train/rgb/{{shard}}.json",
    log:
        f"{RESULTS}/logs/composite_images/{{pattern}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/composite_images/{{pattern}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=120),
    params:
        seed=CONFIG.seed,
        shards=CONFIG.real.shards.train,
        image_format=CONFIG.real.image_format,
        code=code_digest("composite_images"),
    shell:
        "python $SYNTHGAP_SCRIPTS/composite_images.py --manifest {input.manifest}"
        " --pattern {wildcards.pattern} --seed {params.seed} --shard {wildcards.shard}"
        " --shards {params.shards} --image-format {params.image_format}"
        " --tar {output.tar} --log {log}"
