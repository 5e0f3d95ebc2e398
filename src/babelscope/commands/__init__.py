"""What helps to write, size, run and mend a study: one module per command of ``babelscope``.

Each module has ``NAME``, ``ABOUT`` (one line, as in ``babelscope --help``), ``add_arguments(parser)`` and
``run(args) -> int``, which prints and returns the exit status. Modules import what is slow in ``run``.
"""
