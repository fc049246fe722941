# Captions of real images, and the prompts of each synthetic source.


rule caption_images:
    input:
        tar=f"{RESULTS}/images/real/{{split}}/rgb/{{shard}}.tar",
    output:
        captions=f"{RESULTS}/captions/{{split}}/{{shard}}.parquet",
    log:
        f"{RESULTS}/logs/caption_images/{{split}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/caption_images/{{split}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=120),
    params:
        captioner=as_json(CONFIG.captioner),
        code=code_digest("caption_images", f"synthgap.captioners.{CONFIG.captioner.kind}"),
    shell:
        "python $SYNTHGAP_SCRIPTS/caption_images.py --tar {input.tar} --captioner {params.captioner:q}"
        " --captions {output.captions} --log {log}"


rule write_prompts:
    input:
        index=rules.index_real.output.index,
        captions=lambda w: captions() if CONFIG.sources[w.synthetic][1] == "caption" else [],
    output:
        prompts=f"{RESULTS}/prompts/{{synthetic}}/{{split}}.parquet",
    log:
        f"{RESULTS}/logs/write_prompts/{{synthetic}}/{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_prompts/{{synthetic}}/{{split}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        kind=lambda w: CONFIG.sources[w.synthetic][1],
        samples=lambda w: CONFIG.synthetic.samples_per_class[w.split],
        seed=CONFIG.seed,
        code=code_digest("write_prompts"),
    shell:
        "python $SYNTHGAP_SCRIPTS/write_prompts.py --kind {params.kind} --index {input.index}"
        " --captions {input.captions} --source {wildcards.synthetic} --split {wildcards.split}"
        " --samples-per-class {params.samples} --seed {params.seed}"
        " --prompts {output.prompts} --log {log}"
