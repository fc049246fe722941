# Dataset cards, for images that leave this folder.


localrules:
    write_dataset_card,


rule write_dataset_card:
    input:
        manifests=lambda w: [manifest(w.source, split) for split in carded_splits(w.source)],
        model=downloaded_facts,
    output:
        card=f"{RESULTS}/images/{{source}}/README.md",
    log:
        f"{RESULTS}/logs/write_dataset_card/{{source}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_dataset_card/{{source}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        about=lambda w: as_json(CARDS[w.source]),
        splits=lambda w: carded_splits(w.source),
        model=lambda w, input: f"--model {input.model}" if input.model else "",
        code=code_digest("write_dataset_card"),
    shell:
        "python $SYNTHGAP_SCRIPTS/write_dataset_card.py --about {params.about:q}"
        " --splits {params.splits} --manifests {input.manifests} {params.model}"
        " --card {output.card} --log {log}"
