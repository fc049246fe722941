# Another run's numbers beside these.

COMPARISON = f"{RESULTS}/comparison.html"


rule compare_runs:
    input:
        other=compared_metrics,
        metrics=METRICS,
    output:
        comparison=report(
            COMPARISON,
            caption="../report/comparison.rst",
            category="Report",
            labels={"page": "beside another run"},
        ),
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
