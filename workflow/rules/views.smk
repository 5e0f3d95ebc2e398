"""Views behind the four findings; each can be switched on and off (`views` in a study).

All but ablation are made from what is there already; ablation runs the models once more.

Reads   <results>/{experts,best}/{model}/{steps}.*, <results>/activations/{model}/{steps}/{langs}.tokens.h5,
        <results>/tables/transfer.parquet, audit.tsv; for ablation the checkpoints, <results>/{sentences,concepts}/
Writes  <results>/tables/onset.parquet, onset_gaps.parquet, onset_curves.parquet
        <results>/tables/left_out.parquet, representations.parquet
        <results>/ablation/{model}/{steps}.parquet, <results>/tables/ablation.parquet
"""


rule measure_onset:
    input:
        experts=each("<results>/experts/{model}/{steps}.parquet"),
        transfer="<results>/tables/transfer.parquet",
        audit="<results>/tables/audit.tsv",
    output:
        onset=report("<results>/tables/onset.parquet", category="tables", labels={"table": "onset"}),
        gaps=report("<results>/tables/onset_gaps.parquet", category="tables", labels={"table": "onset gaps"}),
        curves=report(
            "<results>/tables/onset_curves.parquet", category="tables", labels={"table": "onset curves"}
        ),
    log:
        "<logs>/measure_onset.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("measure_onset"),
    params:
        bootstrap=STUDY.experts.bootstrap,
        permutations=STUDY.experts.permutations,
        seed=STUDY.seed,
        version=version("measure_onset"),
    message:
        "tell when competence comes, and when sharing"
    script:
        "../scripts/measure_onset.py"


rule measure_left_out:
    input:
        of_viewed_steps("<results>/best/{model}/{steps}.h5"),
    output:
        report("<results>/tables/left_out.parquet", category="tables", labels={"table": "left-out languages"}),
    log:
        "<logs>/measure_left_out.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("measure_left_out"),
    params:
        steps=viewed_cells(),
        langs=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        seed=STUDY.seed,
        version=version("measure_left_out"),
    message:
        "test units chosen in some languages in those that were left out"
    script:
        "../scripts/measure_left_out.py"


rule compare_states:
    input:
        expand(of_viewed_steps("<results>/activations/{model}/{steps}/{{langs}}.tokens.h5"), langs=LANGS),
    output:
        report(
            "<results>/tables/representations.parquet",
            category="tables",
            labels={"table": "representations"},
        ),
    log:
        "<logs>/compare_states.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("compare_states"),
    params:
        steps=viewed_cells(),
        langs=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        permutations=STUDY.experts.permutations,
        seed=STUDY.seed,
        version=version("compare_states"),
    message:
        "compare the states of parallel sentences, layer by layer"
    script:
        "../scripts/compare_states.py"


rule ablate_experts:
    input:
        model=checkpoints(ablating_steps),
        experts=holding(ablating_steps, "<results>/experts/{model}/{steps}.parquet"),
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
        concepts=expand("<results>/concepts/{lang}.tsv", lang=STUDY.languages),
    output:
        "<results>/ablation/{model}/{steps}.parquet",
    log:
        "<logs>/ablate_experts/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/ablate_experts/{model}/{steps}.tsv"
    priority: WRITE
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("ablate_experts"),
        gpu=1,
    params:
        folders=folders(ablating_steps),
        langs=list(STUDY.languages),
        concepts=list(STUDY.ablated_concepts),
        n_sentences=STUDY.views.ablated_sentences,
        extraction=run_settings,
        seed=STUDY.seed,
        version=version("ablate_experts"),
    message:
        "set experts of {wildcards.model}, step {wildcards.steps}, to their means"
    script:
        "../scripts/ablate_experts.py"


rule collect_ablation:
    input:
        each("<results>/ablation/{model}/{steps}.parquet", "ablating"),
    output:
        report("<results>/tables/ablation.parquet", category="tables", labels={"table": "ablation"}),
    log:
        "<logs>/collect_ablation.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_ablation"),
    params:
        langs=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        seed=STUDY.seed,
        version=version("collect_ablation"),
    message:
        "compare the damage of ablation across languages and within them"
    script:
        "../scripts/collect_ablation.py"
