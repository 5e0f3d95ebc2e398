"""Alignment: do the experts of one concept in different languages coincide, and do they transfer?

Reads   <results>/scores/, <results>/experts/ of all languages
Writes  <results>/alignment/{model}/{steps}.{overlap,transfer,reliability}.parquet
        <results>/alignment/{model}.lifelines.parquet, {model}.lifespans.tsv
        <results>/tables/{overlap,transfer,reliability,lifelines}.parquet, lifespans.tsv
"""


rule align_experts:
    input:
        scores=expand("<results>/scores/{{model}}/{{steps}}/{langs}.h5", langs=LANGS),
        experts=expand("<results>/experts/{{model}}/{{steps}}/{langs}.parquet", langs=LANGS),
    output:
        overlap="<results>/alignment/{model}/{steps}.overlap.parquet",
        transfer="<results>/alignment/{model}/{steps}.transfer.parquet",
        reliability="<results>/alignment/{model}/{steps}.reliability.parquet",
    log:
        "<logs>/align_experts/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/align_experts/{model}/{steps}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("align_experts"),
    params:
        steps=steps_of,
        langs=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        permutations=STUDY.experts.permutations,
        seed=STUDY.seed,
        version=version("align_experts"),
    message:
        "align the experts of {wildcards.model}, step {wildcards.steps}, across languages"
    script:
        "../scripts/align_experts.py"


rule trace_units:
    input:
        scores=lambda wildcards: expand(
            "<results>/scores/{model}/{steps}/{langs}.h5",
            model=wildcards.model,
            steps=RANGES.analysis[wildcards.model],
            langs=LANGS,
        ),
        experts=lambda wildcards: expand(
            "<results>/experts/{model}/{steps}/{langs}.parquet",
            model=wildcards.model,
            steps=RANGES.analysis[wildcards.model],
            langs=LANGS,
        ),
    output:
        lifelines="<results>/alignment/{model}.lifelines.parquet",
        lifespans="<results>/alignment/{model}.lifespans.tsv",
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
        version=version("trace_units"),
    message:
        "trace the shared units of {wildcards.model} through training"
    script:
        "../scripts/trace_units.py"


rule collect_alignment:
    input:
        overlap=each("<results>/alignment/{model}/{steps}.overlap.parquet"),
        transfer=each("<results>/alignment/{model}/{steps}.transfer.parquet"),
        reliability=each("<results>/alignment/{model}/{steps}.reliability.parquet"),
        lifelines=expand("<results>/alignment/{model}.lifelines.parquet", model=MODELS),
        lifespans=expand("<results>/alignment/{model}.lifespans.tsv", model=MODELS),
    output:
        overlap=report("<results>/tables/overlap.parquet", category="tables", labels={"table": "overlap"}),
        transfer=report("<results>/tables/transfer.parquet", category="tables", labels={"table": "transfer"}),
        reliability=report(
            "<results>/tables/reliability.parquet", category="tables", labels={"table": "reliability"}
        ),
        lifelines=report(
            "<results>/tables/lifelines.parquet", category="tables", labels={"table": "life lines"}
        ),
        lifespans=report("<results>/tables/lifespans.tsv", category="tables", labels={"table": "life spans"}),
    log:
        "<logs>/collect_alignment.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_alignment"),
    params:
        version=version("collect_alignment"),
    message:
        "collect the alignment over all steps; correct for the number of tests"
    script:
        "../scripts/collect_alignment.py"
