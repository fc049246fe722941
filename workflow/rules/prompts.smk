# Captions of real images, and the prompts of each synthetic source.


from synthgap.captioners import shaping_module

CAPTIONER = CONFIG.captioner
ASKS_SERVICE = CAPTIONER.kind == "service"
OWN_MODEL = CAPTIONER.kind == "transformers"
BY_BATCH = ASKS_SERVICE and CAPTIONER.batch is not None
CAPTIONER_OPTIONS = {name: as_json(CAPTIONER.options(name != "real")) for name in CAPTIONED}
if ASKS_SERVICE:

    # They wait rather than compute, and nodes of clusters often cannot reach the internet.
    localrules:
        caption_images,
        request_captions,


# One job at a time asks the service, so that `concurrency` is what it says.
if "caption_service" not in workflow.global_resources:
    workflow.register_resource("caption_service", 1)


rule caption_images:
    input:
        tar=f"{RESULTS}/images/{{captioned}}/{{split}}/rgb/{{shard}}.tar",
        model=model_folder(CAPTIONER) if OWN_MODEL else [],
        files=model_files(CAPTIONER) if OWN_MODEL else [],
        # When replies are there, it says nothing new that a batch was looked for again.
        batches=ancient(f"{RESULTS}/captions/{{captioned}}/batches.json") if BY_BATCH else [],
    output:
        captions=f"{RESULTS}/captions/{{captioned}}/{{split}}/{{shard}}.parquet",
        facts=f"{RESULTS}/captions/{{captioned}}/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/caption_images/{{captioned}}/{{split}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/caption_images/{{captioned}}/{{split}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: CAPTIONER.threads if OWN_MODEL else 1
    resources:
        **needs(
            mem_mb=memory.captioner_mb(CONFIG),
            minutes=480,
            gpu=1 if OWN_MODEL else 0,
            cpus=CAPTIONER.threads if OWN_MODEL else 1,
        ),
        caption_service=1 if ASKS_SERVICE else 0,
    params:
        captioner=lambda w: CAPTIONER_OPTIONS[w.captioned],
        model=lambda w, input: f"--model {input.model}" if OWN_MODEL else "",
        batches=lambda w, input: f"--batches {input.batches}" if BY_BATCH else "",
        threads=CAPTIONER.threads if OWN_MODEL else 1,
        code=code_digest("caption_images", shaping_module(CAPTIONER.kind)),
    shell:
        "python $SYNTHGAP_SCRIPTS/caption_images.py --tar {input.tar}"
        " --captioner {params.captioner:q} {params.model} {params.batches} --threads {params.threads}"
        ' --gpus {resources.gpu} --service "$SYNTHGAP_SERVICE" --cache "$SYNTHGAP_REPLIES"'
        " --max-failed $SYNTHGAP_UNCAPTIONED"
        " --scratch $SYNTHGAP_SCRATCH/caption_images/{wildcards.captioned}/{wildcards.split}/{wildcards.shard}"
        " --captions {output.captions} --log {log}"


rule request_captions:
    input:
        tars=lambda w: [
            tar
            for split in CONFIG.caption_splits(w.captioned)
            for tar in shards(w.captioned, split)
        ],
    output:
        facts=f"{RESULTS}/captions/{{captioned}}/batches.json",
    log:
        f"{RESULTS}/logs/request_captions/{{captioned}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/request_captions/{{captioned}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=1000, minutes=2880),
        # An account's limit of waiting tokens is for all batches together.
        caption_service=1,
    params:
        captioner=lambda w: CAPTIONER_OPTIONS[w.captioned],
        code=code_digest("request_captions"),
    shell:
        "python $SYNTHGAP_SCRIPTS/request_captions.py --tars {input.tars}"
        ' --captioner {params.captioner:q} --service "$SYNTHGAP_SERVICE" --cache "$SYNTHGAP_REPLIES"'
        " --max-failed $SYNTHGAP_UNCAPTIONED"
        " --scratch $SYNTHGAP_SCRATCH/request_captions/{wildcards.captioned}"
        " --facts {output.facts} --log {log}"


rule write_prompts:
    input:
        index=rules.index_real.output.index,
        # Of the same split, so that no image is trained on whose caption made a test image.
        captions=lambda w: (
            captions("real", w.split) if CONFIG.sources[w.synthetic][1] in NEEDS_CAPTION else []
        ),
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
        samples=lambda w: CONFIG.samples_of(w.synthetic)[w.split],
        seed=CONFIG.seed,
        code=code_digest("write_prompts"),
    shell:
        "python $SYNTHGAP_SCRIPTS/write_prompts.py --kind {params.kind} --index {input.index}"
        " --captions {input.captions} --source {wildcards.synthetic} --split {wildcards.split}"
        " --samples-per-class {params.samples} --seed {params.seed}"
        " --prompts {output.prompts} --log {log}"
