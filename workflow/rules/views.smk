"""Views behind the four findings, from what is there already; each can be switched off (`views` in a study).

Reads   <results>/experts/{model}/{steps}.parquet, <results>/tables/transfer.parquet, audit.tsv
Writes  <results>/tables/onset.parquet, onset_gaps.parquet, onset_curves.parquet
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
