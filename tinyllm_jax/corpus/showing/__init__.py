"""Shows a corpus to a person.

report   the counts of an import or a build, as text
inspect  the counts of a corpus and a sample of its rows, as text or JSON
page     the counts, the teachers and a sample of rows as one HTML page
"""
