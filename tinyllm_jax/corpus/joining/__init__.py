"""Makes a corpus: joins questions with what teachers wrote about them, by content.

build            the whole way, from questions, logs, files and other corpora to a corpus on disk
logs             reads rationale logs, and refuses a teacher's rows that were made in two ways
rationale_files  joins the rows of a file of any origin, which becomes a column
find_questions   finds the question that such a row is about
other_corpora    reads finished corpora, whose teachers become columns of the new one
choose           picks one rationale among the several that a teacher wrote about a question
policy           turns the flags of a rationale into its weight in training
"""
