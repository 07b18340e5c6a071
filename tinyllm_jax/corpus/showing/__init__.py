"""Shows a corpus: as text, as a report and as an HTML page."""
