# The images of the page.

EXAMPLE_SHEETS = example_sheets()


rule choose_examples:
    input:
        files=list(dict.fromkeys(files_among(EXAMPLE_SHEETS))),
        captions=[
            table
            for split in (CONFIG.caption_splits("real") if "real" in CAPTIONED else [])
            for table in captions("real", split)
        ],
    output:
        examples=f"{RESULTS}/examples.parquet",
    log:
        f"{RESULTS}/logs/choose_examples.log",
    benchmark:
        f"{RESULTS}/benchmarks/choose_examples.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=60),
    params:
        # In the order of the config, which is that of the page.
        sheets=json.dumps(EXAMPLE_SHEETS),
        code=code_digest("choose_examples"),
    shell:
        "python $SYNTHGAP_SCRIPTS/choose_examples.py --sheets {params.sheets:q}"
        " --captions {input.captions} --examples {output.examples} --log {log}"
