"""Views behind the four findings, from what is there already; each can be switched off (`views` in a study).

Reads   <results>/{experts,best}/{model}/{steps}.*, <results>/activations/{model}/{steps}/{langs}.tokens.h5,
        <results>/tables/transfer.parquet, audit.tsv
Writes  <results>/tables/onset.parquet, onset_gaps.parquet, onset_curves.parquet
        <results>/tables/left_out.parquet, representations.parquet
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
