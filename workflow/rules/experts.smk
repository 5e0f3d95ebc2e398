"""Expertise: how well every unit predicts every concept, and which units are the best.

Reads   <results>/activations/{model}/{steps}/{langs}.units.h5, <results>/concepts/{lang}.tsv
Writes  <results>/scores/{model}/{steps}/{langs}.h5   average precision per unit and concept (until ranked)
        <results>/best/{model}/{steps}.h5             the best units of each, all languages (kept)
        <results>/best/{model}/{steps}.search.parquet units that predict a concept in all languages
        <results>/best/{model}/{steps}.choices.{h5,parquet}  the same of all poolings, for other choices
"""

if STUDY.keep_activations:

    rule score_units:
        input:
            units="<results>/activations/{model}/{steps}/{langs}.units.h5",
            concepts=collect("<results>/concepts/{lang}.tsv", lang=langs_of),
        output:
            until_ranked("<results>/scores/{model}/{steps}/{langs}.h5"),
        log:
            "<logs>/score_units/{model}/{steps}/{langs}.log",
        benchmark:
            "<benchmarks>/score_units/{model}/{steps}/{langs}.tsv"
        priority: earlier_first
        conda:
            "../../envs/cpu.yaml"
        threads: threads_of("score_units")
        resources:
            **needs("score_units"),
            **in_blocks(),
            scores_gb=scores_gb("score_units"),
        params:
            steps=steps_of,
            langs=langs_of,
            poolings=[name for each in STUDY.extraction.passes for name in each],
            version=version("score_units"),
        message:
            "score every unit of {wildcards.model}, step {wildcards.steps}, for every concept in {wildcards.langs}"
        script:
            "../scripts/score_units.py"


rule rank_units:
    input:
        expand("<results>/scores/{{model}}/{{steps}}/{langs}.h5", langs=LANGS),
    output:
        best="<results>/best/{model}/{steps}.h5",
        search="<results>/best/{model}/{steps}.search.parquet",
        choices="<results>/best/{model}/{steps}.choices.h5",
        choices_search="<results>/best/{model}/{steps}.choices.parquet",
    log:
        "<logs>/rank_units/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/rank_units/{model}/{steps}.tsv"
    # Before any new extraction: what is ranked is removed.
    priority: RANK_FIRST
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("rank_units"),
        scores_gb=scores_gb("rank_units"),
    params:
        steps=steps_of,
        langs=list(STUDY.languages),
        poolings=list(STUDY.extraction.poolings),
        kept=STUDY.experts.kept,
        seed=STUDY.seed,
        version=version("rank_units"),
    message:
        "rank the units of {wildcards.model}, step {wildcards.steps}, and keep the best of every concept"
    script:
        "../scripts/rank_units.py"
