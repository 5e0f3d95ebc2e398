"""What the models compute on the sentences: one forward pass for everything that is stored or scored.

Reads   the checkpoints, <results>/sentences/{lang}.tsv, <results>/concepts/{lang}.tsv
Writes  <results>/activations/{model}/{steps}/{langs}.tokens.h5   sampled token states, sentence means (kept)
        <results>/scores/{model}/{steps}/{langs}.h5               average precision per unit and concept;
                                                                  or, with keep_activations,
        <results>/activations/{model}/{steps}/{langs}.units.h5    pooled unit activations, for score_units
        <results>/tables/extraction.tsv                           cut sentences, hashes of weights and text
"""


rule extract_activations:
    input:
        model=checkpoints(steps_of),
        dictionaries=dictionaries(steps_of),
        sentences=collect("<results>/sentences/{lang}.tsv", lang=langs_of),
        concepts=([] if STUDY.keep_activations else collect("<results>/concepts/{lang}.tsv", lang=langs_of)),
    output:
        **(
            {"units": "<results>/activations/{model}/{steps}/{langs}.units.h5"}
            if STUDY.keep_activations
            else {"scores": until_ranked("<results>/scores/{model}/{steps}/{langs}.h5")}
        ),
        tokens="<results>/activations/{model}/{steps}/{langs}.tokens.h5",
        # Units are scored as they come; only a study that keeps them writes them.
    log:
        "<logs>/extract_activations/{model}/{steps}/{langs}.log",
    benchmark:
        "<benchmarks>/extract_activations/{model}/{steps}/{langs}.tsv"
    # Step by step: the scores of a step lie on the disk until all its languages are there.
    priority: earlier_first
    conda:
        "../../envs/gpu.yaml"
    threads: threads_of("extract_activations")
    resources:
        **needs("extract_activations"),
        **in_blocks(),
        scores_gb=scores_gb("extract_activations"),
        gpu=1,
    params:
        **latents(steps_of),
        folders=folders(steps_of),
        langs=langs_of,
        settings=run_settings,
        seed=STUDY.seed,
        version=version("extract_activations"),
    message:
        "run {wildcards.model}, step {wildcards.steps}, over the sentences in {wildcards.langs}"
    script:
        "../scripts/extract_activations.py"


rule collect_extraction:
    input:
        expand(each("<results>/activations/{model}/{steps}/{{langs}}.tokens.h5"), langs=LANGS),
    output:
        report("<results>/tables/extraction.tsv", category="tables", labels={"table": "extraction"}),
    log:
        "<logs>/collect_extraction.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_extraction"),
    params:
        languages=list(STUDY.languages),
        version=version("collect_extraction"),
    message:
        "collect what the activations were computed from"
    script:
        "../scripts/collect_extraction.py"
