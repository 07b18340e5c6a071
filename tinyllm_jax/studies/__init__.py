"""A study: methods × tasks × students × fractions of the labels × seeds, trained, tested, compared.

A method is a short entry of a config file (`configs/studies/`), not code: which teachers, which
policy, which fields of the run. Every cell of the table is trained once, wherever a study was
killed; test is touched once a cell, after everything was chosen on validation, and recorded.

    study.py       the study as its config describes it, and its cells
    derive.py      the corpus that a cell learns from: selected, permuted, a fraction of it
    runner.py      trains and tests the cells that are not done yet
    statistics.py  means with intervals over questions and seeds, paired tests, power
    tables.py      what the tested cells show, worked out once
    report.py      the tables as text and Markdown; page.py: the same as one HTML page
    published.py   what the paper reports, to stand beside it
    cases.py       test questions on which methods differ
    cluster.py     the shards of a study on the machines of a Ray cluster

Imports go one way: page → cases, report → tables → statistics, runner → derive → study, and all of
them stand above training, selection and evaluation.
"""
