# What a study costs. No output, so that it runs whenever it is asked for.


localrules:
    plan,


rule plan:
    """Jobs, images, GPU hours, storage and downloads of this config, before any of it is paid for."""
    log:
        ".snakemake/plan.log",
    conda:
        ENVIRONMENT
    params:
        config=CONFIG.model_dump_json(exclude_unset=True),
    shell:
        "python $SYNTHGAP_SCRIPTS/plan.py --config {params.config:q} --table plan.csv --log {log}"
