"""Which rationales a student should learn from: a corpus in, and out with other weights.

Naive mixing of several teachers is no better than fine-tuning in some studies, and choosing per
question is (arXiv 2602.01064). A policy looks at a corpus and gives every rationale a number; the
number becomes the row's weight, which is stored in the new corpus with what it was made from. So
training knows no policy.

    reader.py     how much each rationale helps a reader that has not seen its question: nats
    router.py     which teacher suits a question, from the question alone
    weights.py    from such numbers to row weights: pure functions
    select.py     `select`: runs a policy over a corpus and writes the new one

Imports go one way: select → reader | router → weights, and all of them stand above training.
"""
