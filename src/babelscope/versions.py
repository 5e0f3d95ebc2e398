"""One version per stage of the pipeline.

Snakemake re-runs a job when its params or its script change, but it does not see edits of an imported
library. So the version of a stage is a param of its rules: raise it in the change that moves the numbers of
the stage, and the stage and all that follows from it are computed anew.
"""

STAGE_VERSION: dict[str, int] = {
    "corpora": 1,
    "tokenizer": 1,
    "pretraining": 1,
    "fetching": 1,
    "baseline": 1,
    "audit": 1,
    "extraction": 1,
    "probing": 1,
    "experts": 1,
    "alignment": 1,
    "generation": 1,
    "report": 1,
}
