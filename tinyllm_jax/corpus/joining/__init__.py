"""Makes a corpus: joins questions with what teachers wrote about them, by content.

build          the whole way, from questions, logs and other corpora to a corpus on disk
logs           reads rationale logs, and refuses a teacher's rows that were made in two ways
other_corpora  reads finished corpora, whose teachers become columns of the new one
choose         picks one rationale among the several that a teacher wrote about a question
policy         turns the flags of a rationale into its weight in training
"""
