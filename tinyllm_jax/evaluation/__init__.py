"""Accuracies with intervals, predictions, and the report.

`score.evaluate` asks a student every question in two ways, by the likelihood of each choice and by
letting it write its answer, and gives a `results.Result`: one prediction per question, the
baselines, and a count of everything that was cut. `predict.predict` has a student write any target,
a rationale too. `stats` says what an accuracy is worth, `results` writes and reads the files,
`report` puts students side by side in words and as a console table, and `page` as one HTML page.
Nothing here knows how a student was trained.
"""
