# Views that isolate structure, texture or frequencies.

from synthgap.views import module_of


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
    params:
        view=lambda w: as_json(CONFIG.views[w.derived]),
        code=lambda w: code_digest("derive_view", module_of(CONFIG.views[w.derived].kind)),
    shell:
        "python $SYNTHGAP_SCRIPTS/derive_view.py --images {input.tar} --view {params.view:q}"
        " --tar {output.tar} --log {log}"
