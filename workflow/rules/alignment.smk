"""Alignment: do the experts of one concept in different languages coincide, and do they transfer?

Reads   <results>/scores/, <results>/experts/ of all languages
Writes  <results>/alignment/{model}/{step}.{overlap,transfer,reliability}.parquet
        <results>/alignment/{model}.lifelines.parquet
        <results>/tables/{overlap,transfer,reliability,lifelines}.parquet
"""

MEASURES = ["overlap", "transfer", "reliability"]

for batch in STEP_BATCHES:

    rule:
        name:
            batch.rule("align_experts")
        input:
            scores=expand(
                "<results>/scores/{{model}}/{step}/{lang}.h5", step=batch.step_paths, lang=STUDY.languages
            ),
            experts=expand(
                "<results>/experts/{{model}}/{step}/{lang}.parquet",
                step=batch.step_paths,
                lang=STUDY.languages,
            ),
        output:
            overlap=expand("<results>/alignment/{{model}}/{step}.overlap.parquet", step=batch.step_paths),
            transfer=expand("<results>/alignment/{{model}}/{step}.transfer.parquet", step=batch.step_paths),
            reliability=expand(
                "<results>/alignment/{{model}}/{step}.reliability.parquet", step=batch.step_paths
            ),
        log:
            f"<logs>/align_experts/{{model}}/{batch.name}.log",
        benchmark:
            f"<benchmarks>/align_experts/{{model}}/{batch.name}.tsv"
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("align_experts", batch),
        params:
            steps=batch.steps_of,
            langs=list(STUDY.languages),
            bootstrap=STUDY.experts.bootstrap,
            permutations=STUDY.experts.permutations,
            seed=STUDY.seed,
            version=STAGE_VERSION["alignment"],
        message:
            "align the experts of {wildcards.model} across languages"
        script:
            "../scripts/align_experts.py"


rule trace_units:
    input:
        scores=lambda wildcards: expand(
            "<results>/scores/{{model}}/{step}/{lang}.h5",
            step=MODELS[wildcards.model].steps,
            lang=STUDY.languages,
        ),
        experts=lambda wildcards: expand(
            "<results>/experts/{{model}}/{step}/{lang}.parquet",
            step=MODELS[wildcards.model].steps,
            lang=STUDY.languages,
        ),
    output:
        "<results>/alignment/{model}.lifelines.parquet",
    log:
        "<logs>/trace_units/{model}.log",
    benchmark:
        "<benchmarks>/trace_units/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("trace_units"),
    params:
        steps=lambda wildcards: list(MODELS[wildcards.model].steps),
        langs=list(STUDY.languages),
        min_languages=STUDY.experts.min_languages,
        max_traced_units=STUDY.experts.max_traced_units,
        version=STAGE_VERSION["alignment"],
    message:
        "trace the shared units of {wildcards.model} through training"
    script:
        "../scripts/trace_units.py"


rule collect_alignment:
    input:
        overlap=each_cell("<results>/alignment/{model}/{step}.overlap.parquet"),
        transfer=each_cell("<results>/alignment/{model}/{step}.transfer.parquet"),
        reliability=each_cell("<results>/alignment/{model}/{step}.reliability.parquet"),
        lifelines=expand("<results>/alignment/{model}.lifelines.parquet", model=MODELS),
    output:
        overlap=report("<results>/tables/overlap.parquet", category="tables", labels={"table": "overlap"}),
        transfer=report("<results>/tables/transfer.parquet", category="tables", labels={"table": "transfer"}),
        reliability=report(
            "<results>/tables/reliability.parquet", category="tables", labels={"table": "reliability"}
        ),
        lifelines=report(
            "<results>/tables/lifelines.parquet", category="tables", labels={"table": "life lines"}
        ),
    log:
        "<logs>/collect_alignment.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_alignment"),
    params:
        version=STAGE_VERSION["alignment"],
    message:
        "collect the alignment over all steps; correct for the number of tests"
    script:
        "../scripts/collect_alignment.py"
