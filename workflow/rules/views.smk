# Views that isolate structure, texture or frequencies.

from synthgap.views import modules_of

# Once, as thousands of jobs have the same.
VIEW_OPTIONS = {name: as_json(CONFIG.view_options(name)) for name in CONFIG.views}
VIEW_CODE = {
    name: code_digest(
        "estimate_depth" if name in CONFIG.depth_views else "derive_view",
        *modules_of(CONFIG.view_options(name)),
    )
    for name in CONFIG.views
}
DEPTH_MODELS = {name: model_folder(view) for name, view in CONFIG.depth_views.items()}
DEPTH_MODEL_FILES = {name: model_files(view) for name, view in CONFIG.depth_views.items()}


rule derive_view:
    input:
        tars=lambda w: shards_in_view(w.source, w.split, w.derived, w.shard),
    output:
        tar=ensure(
            f"{RESULTS}/images/{{source}}/{{split}}/{{derived}}/{{shard}}.tar", non_empty=True
        ),
        rows=f"{RESULTS}/images/{{source}}/{{split}}/{{derived}}/{{shard}}.parquet",
        facts=f"{RESULTS}/images/{{source}}/{{split}}/{{derived}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/derive_view/{{source}}/{{split}}/{{derived}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/derive_view/{{source}}/{{split}}/{{derived}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=120),
    params:
        view=lambda w: VIEW_OPTIONS[w.derived],
        code=lambda w: VIEW_CODE[w.derived],
    shell:
        "python $SYNTHGAP_SCRIPTS/derive_view.py --images {input.tars} --view {params.view:q}"
        " --tar {output.tar} --log {log}"


rule estimate_depth:
    input:
        tars=lambda w: shards_in_view(w.source, w.split, w.depth, w.shard),
        model=lambda w: DEPTH_MODELS[w.depth],
        files=lambda w: DEPTH_MODEL_FILES[w.depth],
    output:
        tar=ensure(f"{RESULTS}/images/{{source}}/{{split}}/{{depth}}/{{shard}}.tar", non_empty=True),
        rows=f"{RESULTS}/images/{{source}}/{{split}}/{{depth}}/{{shard}}.parquet",
        facts=f"{RESULTS}/images/{{source}}/{{split}}/{{depth}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/estimate_depth/{{source}}/{{split}}/{{depth}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/estimate_depth/{{source}}/{{split}}/{{depth}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: depth_threads
    resources:
        **needs(mem_mb=8000, minutes=120, gpu=1, cpus=depth_threads),
    params:
        view=lambda w: VIEW_OPTIONS[w.depth],
        threads=depth_threads,
        code=lambda w: VIEW_CODE[w.depth],
    shell:
        "python $SYNTHGAP_SCRIPTS/estimate_depth.py --images {input.tars} --view {params.view:q}"
        " --model {input.model} --threads {params.threads} --gpus {resources.gpu}"
        " --tar {output.tar} --log {log}"
