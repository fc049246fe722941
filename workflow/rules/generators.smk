# Text-to-image models: downloaded where the config says so, and called.


# Once, as thousands of jobs have the same.
PIPELINES = {name: pipeline_of(name) for name in CONFIG.generators}
PIPELINE_FILES = {name: pipeline_files(name) for name in CONFIG.generators}
GENERATION_CODE = {
    name: code_digest("generate_images", *CONFIG.generation_modules(name))
    for name in CONFIG.generators
}
GENERATOR_OPTIONS = {name: as_json(CONFIG.generator_options(name)) for name in CONFIG.generators}


localrules:
    check_access,
    download_file,
    download_model,


# Before all that could wait for a device or fill a disk: what cannot be had is known at once.
rule check_access:
    output:
        access=f"{CONFIG.downloads_folder}/{{hub}}.access.json",
    log:
        f"{RESULTS}/logs/check_access/{{hub}}.log",
    priority: 1000
    conda:
        ENVIRONMENT
    params:
        options=lambda w: access_options(HUB_MODELS[w.hub]),
    shell:
        "python $SYNTHGAP_SCRIPTS/check_access.py {params.options} --access {output.access} --log {log}"


rule download_model:
    input:
        access=ancient(f"{CONFIG.downloads_folder}/{{hub}}.access.json"),
    output:
        folder=directory(f"{CONFIG.downloads_folder}/{{hub}}"),
        facts=f"{CONFIG.downloads_folder}/{{hub}}.json",
    log:
        f"{RESULTS}/logs/download_model/{{hub}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/download_model/{{hub}}.tsv"
    priority: 100
    conda:
        ENVIRONMENT
    # No digest of the code: the hub tells each file's own, and terabytes are not fetched twice.
    params:
        options=lambda w: download_options(HUB_MODELS[w.hub]),
    shell:
        "python $SYNTHGAP_SCRIPTS/download_model.py {params.options}"
        " --scratch $SYNTHGAP_SCRATCH/download_model/{wildcards.hub}"
        " --folder {output.folder} --facts {output.facts} --log {log}"


rule download_file:
    output:
        file=f"{DOWNLOADED_FILES}/{{file}}",
        facts=f"{DOWNLOADED_FILES}/{{file}}.json",
    log:
        f"{RESULTS}/logs/download_file/{{file}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/download_file/{{file}}.tsv"
    priority: 100
    conda:
        ENVIRONMENT
    params:
        url=lambda w: WEIGHT_FILES[w.file].url,
        sha256=lambda w: WEIGHT_FILES[w.file].sha256,
    shell:
        "python $SYNTHGAP_SCRIPTS/download_file.py --url {params.url:q} --sha256={params.sha256}"
        " --file {output.file} --facts {output.facts} --log {log}"


rule train_realism:
    input:
        pipeline=lambda w: PIPELINES[CONFIG.sources[w.guided][0]],
        files=lambda w: PIPELINE_FILES[CONFIG.sources[w.guided][0]],
        real_train=manifest("real", "train"),
        real_val=manifest("real", "val"),
        generated_train=lambda w: manifest(CONFIG.guided[w.guided], "train"),
        generated_val=lambda w: manifest(CONFIG.guided[w.guided], "val"),
    output:
        model=f"{RESULTS}/realism/{{guided}}.safetensors",
        history=f"{RESULTS}/realism/{{guided}}.history.parquet",
    log:
        f"{RESULTS}/logs/train_realism/{{guided}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_realism/{{guided}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda w: realism_of(w.guided).threads
    resources:
        **needs(mem_mb=16000, minutes=720, gpu=1, cpus=lambda w: realism_of(w.guided).threads),
    params:
        generator=lambda w: GENERATOR_OPTIONS[CONFIG.guided[w.guided].rpartition("-")[0]],
        architecture=lambda w: as_json(realism_of(w.guided).architecture),
        recipe=lambda w: as_json(realism_of(w.guided).recipe),
        seed=CONFIG.seed,
        threads=lambda w: realism_of(w.guided).threads,
        code=code_digest("train_realism"),
    shell:
        "python $SYNTHGAP_SCRIPTS/train_realism.py --pipeline {input.pipeline}"
        " --real {input.real_train} {input.real_val}"
        " --generated {input.generated_train} {input.generated_val}"
        " --generator {params.generator:q} --architecture {params.architecture:q}"
        " --recipe {params.recipe:q} --seed {params.seed} --threads {params.threads}"
        " --gpus {resources.gpu} --checkpoint-seconds $SYNTHGAP_CHECKPOINT_SECONDS"
        " --scratch $SYNTHGAP_SCRATCH/train_realism/{wildcards.guided}"
        " --model {output.model} --history {output.history} --log {log}"


rule generate_images:
    input:
        prompts=f"{RESULTS}/prompts/{{synthetic}}/{{split}}.parquet",
        pipeline=lambda w: PIPELINES[CONFIG.sources[w.synthetic][0]],
        files=lambda w: PIPELINE_FILES[CONFIG.sources[w.synthetic][0]],
        realism=lambda w: (
            f"{RESULTS}/realism/{w.synthetic}.safetensors" if w.synthetic in CONFIG.guided else []
        ),
        scorer=lambda w: search_models(CONFIG.sources[w.synthetic][0]),
        scorer_files=lambda w: search_files(CONFIG.sources[w.synthetic][0]),
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
    threads: generator_threads
    resources:
        **needs(mem_mb=generator_mb, minutes=240, gpu=1, cpus=generator_threads),
        # No param: it shapes no image, and raising it must not make finished shards again.
        max_failed=lambda w: generator_of(w.synthetic).max_failed,
    params:
        generator=lambda w: GENERATOR_OPTIONS[CONFIG.sources[w.synthetic][0]],
        shards=lambda w: CONFIG.shards_of(w.synthetic)[w.split],
        pipeline=lambda w, input: pipeline_in(input.pipeline, CONFIG.sources[w.synthetic][0]),
        realism=lambda w, input: f"--realism {input.realism}" if input.realism else "",
        scorer=lambda w, input: f"--scorer-models {input.scorer}" if input.scorer else "",
        threads=generator_threads,
        code=lambda w: GENERATION_CODE[CONFIG.sources[w.synthetic][0]],
    shell:
        "python $SYNTHGAP_SCRIPTS/generate_images.py --prompts {input.prompts}"
        " --pipeline {params.pipeline} --generator {params.generator:q} {params.realism} {params.scorer}"
        " --shard {wildcards.shard} --shards {params.shards}"
        " --threads {params.threads} --gpus {resources.gpu} --max-failed {resources.max_failed} --scratch $SYNTHGAP_SCRATCH/"
        "generate_images/{wildcards.synthetic}/{wildcards.split}/{wildcards.shard}"
        " --tar {output.tar} --log {log}"
