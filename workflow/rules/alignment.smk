"""Alignment: do the experts of one concept in different languages coincide, and do they transfer?

Reads   <results>/best/{model}/, <results>/tables/pairs.tsv, probes.parquet, audit.tsv
Writes  <results>/experts/{model}/{steps}.parquet   the top K
        <results>/alignment/{model}/{steps}.{overlap,transfer,reliability,draws}.parquet
        <results>/alignment/{model}.lifelines.parquet, {model}.lifespans.tsv
        <results>/tables/{overlap,overlap_changes,overlap_contrasts}.parquet
        <results>/tables/{transfer,reliability,lifelines}.parquet, lifespans.tsv
        <results>/choices/{model}/{steps}.parquet, {steps}.draws.parquet
        <results>/tables/choices.parquet, choice_ranks.tsv, choice_conclusions.tsv
"""


rule align_experts:
    input:
        best="<results>/best/{model}/{steps}.h5",
        search="<results>/best/{model}/{steps}.search.parquet",
        pairs="<results>/tables/pairs.tsv",
    output:
        experts="<results>/experts/{model}/{steps}.parquet",
        overlap="<results>/alignment/{model}/{steps}.overlap.parquet",
        transfer="<results>/alignment/{model}/{steps}.transfer.parquet",
        reliability="<results>/alignment/{model}/{steps}.reliability.parquet",
        draws="<results>/alignment/{model}/{steps}.draws.parquet",
    log:
        "<logs>/align_experts/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/align_experts/{model}/{steps}.tsv"
    priority: earlier_first
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("align_experts"),
    params:
        steps=steps_of,
        langs=list(STUDY.languages),
        k=lambda wildcards: STUDY.n_experts(wildcards.model),
        groups=STUDY.concepts.groups,
        bootstrap=STUDY.experts.bootstrap,
        permutations=STUDY.experts.permutations,
        seed=STUDY.seed,
        version=version("align_experts"),
    message:
        "select {params.k} experts of every concept and align them: {wildcards.model}, step {wildcards.steps}"
    script:
        "../scripts/align_experts.py"


rule trace_units:
    input:
        best=of_all_steps("<results>/best/{model}/{steps}.h5"),
        experts=of_all_steps("<results>/experts/{model}/{steps}.parquet"),
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
        # A random baseline is no ancestor of the model: no unit of it is born, stays or goes.
        steps=lambda wildcards: MODELS[wildcards.model].real_steps,
        langs=list(STUDY.languages),
        min_languages=STUDY.experts.min_languages,
        max_traced_units=STUDY.experts.max_traced_units,
        seed=STUDY.seed,
        version=version("trace_units"),
    message:
        "trace the shared units of {wildcards.model} through training"
    script:
        "../scripts/trace_units.py"


rule collect_alignment:
    input:
        overlap=each("<results>/alignment/{model}/{steps}.overlap.parquet"),
        draws=each("<results>/alignment/{model}/{steps}.draws.parquet"),
        transfer=each("<results>/alignment/{model}/{steps}.transfer.parquet"),
        reliability=each("<results>/alignment/{model}/{steps}.reliability.parquet"),
        lifelines=expand("<results>/alignment/{model}.lifelines.parquet", model=MODELS),
        lifespans=expand("<results>/alignment/{model}.lifespans.tsv", model=MODELS),
    output:
        overlap=report("<results>/tables/overlap.parquet", category="tables", labels={"table": "overlap"}),
        overlap_changes=report(
            "<results>/tables/overlap_changes.parquet",
            category="tables",
            labels={"table": "overlap changes"},
        ),
        overlap_contrasts=report(
            "<results>/tables/overlap_contrasts.parquet",
            category="tables",
            labels={"table": "overlap less that of the control"},
        ),
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
        against=paired_with_controls(MODELS),
        version=version("collect_alignment"),
    message:
        "collect the alignment over all steps; correct for the number of tests"
    script:
        "../scripts/collect_alignment.py"


rule compare_choices:
    input:
        kept="<results>/best/{model}/{steps}.choices.h5",
        search="<results>/best/{model}/{steps}.choices.parquet",
    output:
        choices="<results>/choices/{model}/{steps}.parquet",
        draws="<results>/choices/{model}/{steps}.draws.parquet",
    log:
        "<logs>/compare_choices/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/compare_choices/{model}/{steps}.tsv"
    priority: earlier_first
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("compare_choices"),
    params:
        steps=steps_of,
        langs=list(STUDY.languages),
        poolings=list(STUDY.extraction.poolings),
        k=lambda wildcards: STUDY.n_experts(wildcards.model),
        bootstrap=STUDY.experts.bootstrap,
        permutations=STUDY.experts.permutations,
        seed=STUDY.seed,
        version=version("compare_choices"),
    message:
        "compare choices of pooling, site and number of experts: {wildcards.model}, step {wildcards.steps}"
    script:
        "../scripts/compare_choices.py"


rule collect_choices:
    input:
        choices=each("<results>/choices/{model}/{steps}.parquet"),
        draws=each("<results>/choices/{model}/{steps}.draws.parquet"),
        probes="<results>/tables/probes.parquet",
        audit="<results>/tables/audit.tsv",
    output:
        choices=report("<results>/tables/choices.parquet", category="tables", labels={"table": "choices"}),
        ranks=report(
            "<results>/tables/choice_ranks.tsv", category="tables", labels={"table": "ranks of choices"}
        ),
        conclusions=report(
            "<results>/tables/choice_conclusions.tsv",
            category="tables",
            labels={"table": "conclusions of choices"},
        ),
    log:
        "<logs>/collect_choices.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_choices"),
    params:
        against=paired_with_controls(MODELS),
        exclude_flagged=STUDY.report.exclude_flagged,
        version=version("collect_choices"),
    message:
        "compare what choices of pooling, site, number of experts and probe come to"
    script:
        "../scripts/collect_choices.py"
