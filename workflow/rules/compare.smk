# Another run's numbers beside these.

COMPARISON = f"{RESULTS}/comparison.html"


def compared_metrics(w):
    """The metrics table of the run to compare with, which `compare_with` names."""
    named = Path(CONFIG.compare_with or "")
    table = named if named.is_file() else named / "metrics.parquet"
    wrong = None
    if not CONFIG.compare_with:
        wrong = "name the other run's results: snakemake compare --config compare_with=FOLDER"
    elif table.resolve() == Path(METRICS).resolve():
        wrong = f"compare_with: {named} is the folder of this run itself"
    elif not table.is_file():
        wrong = f"compare_with: there is no {table}"
    if wrong:
        sys.exit(f"error: {wrong}")
    return str(table)


rule compare_runs:
    input:
        other=compared_metrics,
        metrics=METRICS,
    output:
        comparison=COMPARISON,
        numbers=f"{RESULTS}/comparison.csv",
    log:
        f"{RESULTS}/logs/compare_runs.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_runs.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        labels=lambda w: [CONFIG.compare_with, RESULTS],
        code=code_digest("compare_runs"),
    shell:
        "python $SYNTHGAP_SCRIPTS/compare_runs.py --metrics {input.other} {input.metrics}"
        " --labels {params.labels:q} --comparison {output.comparison} --numbers {output.numbers}"
        " --log {log}"
