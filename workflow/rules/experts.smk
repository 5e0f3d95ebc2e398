"""Expertise: how well every unit predicts every concept, and which units are the experts.

Reads   <results>/activations/{model}/{steps}/{langs}.units.h5, <results>/concepts/{lang}.tsv
Writes  <results>/scores/{model}/{steps}/{langs}.h5         average precision per unit and concept (kept)
        <results>/experts/{model}/{steps}/{langs}.parquet   the top K
"""


rule score_units:
    input:
        units="<results>/activations/{model}/{steps}/{langs}.units.h5",
        concepts=collect("<results>/concepts/{lang}.tsv", lang=langs_of),
    output:
        "<results>/scores/{model}/{steps}/{langs}.h5",
    log:
        "<logs>/score_units/{model}/{steps}/{langs}.log",
    benchmark:
        "<benchmarks>/score_units/{model}/{steps}/{langs}.tsv"
    # Before any new extraction: what is scored is removed.
    priority: 20
    conda:
        "../../envs/cpu.yaml"
    threads: threads_of("score_units")
    resources:
        **needs("score_units"),
        activations_gb=activations_gb,
    params:
        steps=steps_of,
        langs=langs_of,
        min_positive=STUDY.concepts.min_positive,
        block_units=STUDY.experts.block_units,
        version=version("score_units"),
    message:
        "score every unit of {wildcards.model}, step {wildcards.steps}, for every concept in {wildcards.langs}"
    script:
        "../scripts/score_units.py"


rule select_experts:
    input:
        "<results>/scores/{model}/{steps}/{langs}.h5",
    output:
        "<results>/experts/{model}/{steps}/{langs}.parquet",
    log:
        "<logs>/select_experts/{model}/{steps}/{langs}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("select_experts"),
    params:
        steps=steps_of,
        langs=langs_of,
        k=lambda wildcards: STUDY.n_experts(wildcards.model),
        version=version("select_experts"),
    message:
        "select {params.k} experts of every concept: {wildcards.model}, step {wildcards.steps}, {wildcards.langs}"
    script:
        "../scripts/select_experts.py"
