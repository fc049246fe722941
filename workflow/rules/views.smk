# Views that isolate structure, texture or frequencies.

from synthgap.views import module_of

# Once, as thousands of jobs have the same.
VIEW_OPTIONS = {name: as_json(view) for name, view in CONFIG.views.items()}
VIEW_CODE = {
    name: code_digest("derive_view", module_of(view.kind)) for name, view in CONFIG.views.items()
}


rule derive_view:
    input:
        tar=f"{RESULTS}/images/{{source}}/{{split}}/rgb/{{shard}}.tar",
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
        "python $SYNTHGAP_SCRIPTS/derive_view.py --images {input.tar} --view {params.view:q}"
        " --tar {output.tar} --log {log}"
