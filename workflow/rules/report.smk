# Figures, contact sheets and the page that people open.

from synthgap.report.figure_captions import CAPTIONS


# Of `snakemake --report`, which puts the same into one file of its own.
report: "../report/workflow.rst"


# The page embeds the spec; the SVG of the same spec is for print.
rule plot_figure:
    input:
        metrics=METRICS,
    output:
        spec=f"{RESULTS}/figures/{{figure}}.json",
        figure=report(
            f"{RESULTS}/figures/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels=lambda w: {"figure": CAPTIONS[w.figure][0]},
        ),
        numbers=report(
            f"{RESULTS}/figures/{{figure}}.csv",
            caption="../report/numbers.rst",
            category="Numbers",
            labels=lambda w: {"figure": CAPTIONS[w.figure][0]},
        ),
    log:
        f"{RESULTS}/logs/plot_figure/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_figure/{{figure}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        distribution=lambda w: (
            f"--distribution {CONFIG.shown_distribution}" if w.figure == "density_coverage" else ""
        ),
        # For `snakemake --report`.
        caption=lambda w: CAPTIONS[w.figure][1],
        code=lambda w: code_digest("plot_figure", f"synthgap.figures.{w.figure}"),
    shell:
        "python $SYNTHGAP_SCRIPTS/plot_figure.py --metrics {input.metrics} --name {wildcards.figure}"
        " {params.distribution}"
        " --spec {output.spec} --figure {output.figure} --numbers {output.numbers} --log {log}"


rule draw_contact_sheet:
    input:
        manifests=lambda w: list(sheet_rows(w.sheet).values()),
    output:
        sheet=report(
            f"{RESULTS}/figures/contact-{{sheet}}.png",
            caption="../report/sheet.rst",
            category="Images",
            labels={"sheet": "{sheet}"},
        ),
    log:
        f"{RESULTS}/logs/draw_contact_sheet/{{sheet}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_contact_sheet/{{sheet}}.tsv"
    wildcard_constraints:
        sheet=any_of([*(sheet for sheet in SHEETS if sheet != "views"), "models"]),
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        labels=lambda w: list(sheet_rows(w.sheet)),
        code=code_digest("draw_contact_sheet"),
    shell:
        "python $SYNTHGAP_SCRIPTS/draw_contact_sheet.py --manifests {input.manifests}"
        " --labels {params.labels:q} --sheet {output.sheet} --log {log}"


rule draw_probe_sheet:
    input:
        manifests=[
            manifest(source, "test", view)
            for source in CONFIG.shown_sources
            for view in ["rgb", *CONFIG.views]
        ],
    output:
        sheet=report(
            f"{RESULTS}/figures/contact-views.png",
            caption="../report/sheet.rst",
            category="Images",
            labels={"sheet": "views"},
        ),
    log:
        f"{RESULTS}/logs/draw_probe_sheet.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_probe_sheet.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        sources=CONFIG.shown_sources,
        views=["rgb", *CONFIG.views],
        code=code_digest("draw_probe_sheet"),
    shell:
        "python $SYNTHGAP_SCRIPTS/draw_probe_sheet.py --sources {params.sources:q}"
        " --views {params.views:q} --manifests {input.manifests} --sheet {output.sheet} --log {log}"


rule write_report:
    input:
        metrics=METRICS,
        classes=rules.collect_metrics.output.classes,
        figures=expand(rules.plot_figure.output.figure, figure=FIGURES),
        numbers=expand(rules.plot_figure.output.numbers, figure=FIGURES),
        specs=expand(rules.plot_figure.output.spec, figure=FIGURES),
        examples=rules.choose_examples.output.examples,
        occlusion=[f"{RESULTS}/figures/occlusion-{name}.png" for name in OCCLUDED],
        quizzes=quizzes(),
        captions=rules.measure_captions.output.sample if CAPTIONED else [],
    output:
        report=report(
            REPORT, caption="../report/page.rst", category="Report", labels={"page": "report"}
        ),
        claims=report(
            f"{RESULTS}/claims.csv",
            caption="../report/claims.rst",
            category="Report",
            labels={"page": "claims"},
        ),
    log:
        f"{RESULTS}/logs/write_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_report.tsv"
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=2000, minutes=30),
    params:
        config=as_json(CONFIG),
        captioner=as_json(CONFIG.captioner.options()),
        distribution=(
            f"--distribution {CONFIG.shown_distribution}" if CONFIG.shown_distribution else ""
        ),
        quizzes=as_json(told_quizzes()),
        benchmarks=f"{RESULTS}/benchmarks",
        # As they are named from here, so that another checkout reruns nothing.
        given=lambda w: " ".join(map(os.path.relpath, workflow.overwrite_configfiles)),
        overrides=lambda w: [
            f"{key}={json.dumps(value) if isinstance(value, (dict, list)) else value}"
            for key, value in workflow.config_settings.overwrite_config.items()
            if key not in ("site", "compare_with")
        ],
        code=code_digest("write_report"),
    shell:
        "python $SYNTHGAP_SCRIPTS/write_report.py --metrics {input.metrics} --figures {input.figures}"
        " --numbers {input.numbers} --classes {input.classes} --specs {input.specs} --examples {input.examples}"
        " --sheets {input.occlusion} --caption-sample {input.captions}"
        " --benchmarks {params.benchmarks}"
        " {params.distribution} --quizzes {params.quizzes:q} --config-files {params.given} --overrides {params.overrides:q} --captioner {params.captioner:q} --config {params.config:q}"
        " --report {output.report} --claims {output.claims} --log {log}"
