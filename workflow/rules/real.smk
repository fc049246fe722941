# Real images into shards, and the manifests of all sources.

from synthgap.data.class_tables import table_digest

REAL_PLACES = ("dataset", "folder", "test_folder")
# A config that is fitted to its folder has other numbers when images come or go, so then they are
# listed anew.
COUNTED = as_json(CONFIG.found_images) if CONFIG.fit_to_folder else ""


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
        dataset=real_options(
            *REAL_PLACES,
            "class_table",
            "class_names",
            "val_fraction",
            "test_fraction",
            "images_per_class",
        ),
        table=table_digest(CONFIG.real.class_table) + COUNTED,
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
        dataset=real_options(*REAL_PLACES, "image_size", "image_format", "max_unreadable"),
        shards=lambda w: CONFIG.real.shards[w.split],
        code=code_digest("prepare_real"),
    shell:
        "python $SYNTHGAP_SCRIPTS/prepare_real.py --index {input.index} --dataset {params.dataset:q}"
        " --split {wildcards.split} --shard {wildcards.shard} --shards {params.shards}"
        " --tar {output.tar} --log {log}"


# Generated images that are there already come as real ones do.
rule index_images:
    input:
        index=rules.index_real.output.index,
    output:
        index=f"{RESULTS}/image_sets/{{imageset}}.parquet",
    log:
        f"{RESULTS}/logs/index_images/{{imageset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_images/{{imageset}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=60),
    params:
        dataset=lambda w: image_set_options(w.imageset),
        table=table_digest(CONFIG.real.class_table),
        seed=CONFIG.seed,
        code=code_digest("index_real"),
    shell:
        "python $SYNTHGAP_SCRIPTS/index_real.py --dataset {params.dataset:q} --seed {params.seed}"
        " --section image_sets.{wildcards.imageset} --like {input.index} --index {output.index}"
        " --log {log}"


rule prepare_images:
    input:
        index=rules.index_images.output.index,
    output:
        tar=ensure(f"{RESULTS}/images/{{imageset}}/{{split}}/rgb/{{shard}}.tar", non_empty=True),
        rows=f"{RESULTS}/images/{{imageset}}/{{split}}/rgb/{{shard}}.parquet",
        facts=f"{RESULTS}/images/{{imageset}}/{{split}}/rgb/{{shard}}.json",
    log:
        f"{RESULTS}/logs/prepare_images/{{imageset}}/{{split}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare_images/{{imageset}}/{{split}}/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=120),
    params:
        dataset=lambda w: image_set_options(w.imageset),
        shards=lambda w: CONFIG.shards_of(w.imageset)[w.split],
        code=code_digest("prepare_real"),
    shell:
        "python $SYNTHGAP_SCRIPTS/prepare_real.py --index {input.index} --dataset {params.dataset:q}"
        " --section image_sets.{wildcards.imageset} --split {wildcards.split}"
        " --shard {wildcards.shard} --shards {params.shards} --tar {output.tar} --log {log}"


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
            if w.source in CONFIG.generated
            else CONFIG.image_sets.get(w.source, CONFIG.real).max_unreadable
        ),
    params:
        code=code_digest("gather_shards"),
    shell:
        "python $SYNTHGAP_SCRIPTS/gather_shards.py --tars {input.tars} --max-failed {resources.max_failed}"
        " --manifest {output.manifest} --log {log}"
