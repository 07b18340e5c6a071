"""What the report pages share: the frame of an HTML page and its style sheet.

A page is one file with no script and nothing to fetch; its content security policy forbids both.

The six series colours are Okabe and Ito's palette for all kinds of colour vision ("Color Universal
Design", 2008),
darkened or lightened until each stands at least 3 : 1 against its background (WCAG 2.2, 1.4.11).
"""

import html
from collections.abc import Sequence

STYLE = """
:root {
  color-scheme: light dark;
  --back: #fbfbf9; --card: #ffffff; --ink: #1c1e21; --soft: #5c6370; --rule: #dedfdb; --good: #00704f;
  --s0: #0072b2; --s1: #c04a00; --s2: #00805f; --s3: #a8518a; --s4: #8a6d00; --s5: #50555c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14161a; --card: #1c1f24; --ink: #e8e9eb; --soft: #a2a9b4; --rule: #343941; --good: #4fd1a5;
    --s0: #56b4e9; --s1: #ef8a4b; --s2: #35c79a; --s3: #dd8fc0; --s4: #e0c341; --s5: #b3b9c2;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 20px; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 44px 0 12px; }
h3 { font-size: 1rem; margin: 0 0 8px; white-space: pre-line; }
h4 { font-size: .9rem; margin: 0 0 6px; }
.kicker { margin: 0 0 6px; color: var(--soft); font-size: .9rem; }
.verdict, article, figure, .wide { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.verdict { padding: 18px 22px; border-left: 5px solid var(--s0); }
.verdict p { margin: 0; color: var(--soft); }
.verdict .lead { font-size: 1.2rem; color: var(--ink); margin-bottom: 6px; }
.small { color: var(--soft); font-size: .84rem; }
th .small { display: block; font-weight: 400; }
.wide { overflow-x: auto; margin-bottom: 10px; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 10px 14px; text-align: left; vertical-align: top; border-top: 1px solid var(--rule); }
thead th { border-top: 0; color: var(--soft); font-size: .84rem; font-weight: 600; }
tbody th { font-weight: 600; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.baseline th, .baseline td { color: var(--soft); font-weight: 400; padding-top: 6px; padding-bottom: 6px; }
.key { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .45em; background: var(--colour); }
.s0 { --colour: var(--s0); } .s1 { --colour: var(--s1); --dash: 7 4; } .s2 { --colour: var(--s2); --dash: 2 4; }
.s3 { --colour: var(--s3); --dash: 10 3 2 3; } .s4 { --colour: var(--s4); --dash: 4 2; } .s5 { --colour: var(--s5); --dash: 12 6; }
svg text { fill: var(--soft); font-size: 12px; font-family: inherit; }
.bar { display: block; width: 100%; min-width: 130px; max-width: 200px; }
.track { fill: var(--rule); } .band { fill: var(--colour); opacity: .4; } .dot { fill: var(--colour); }
.mark { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 3 2; }
.chart { display: block; width: 100%; }
.grid { stroke: var(--rule); }
.line { fill: none; stroke: var(--colour); stroke-width: 2; stroke-dasharray: var(--dash, none); stroke-linejoin: round; }
.figures { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(360px, 100%), 1fr)); }
figure { margin: 0; padding: 14px 16px; }
figcaption { font-weight: 600; font-size: .9rem; margin-bottom: 8px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0 0; padding: 0; font-size: .84rem; }
.legend svg { width: 28px; height: 8px; margin-right: 8px; vertical-align: middle; }
article { padding: 18px 20px; margin-bottom: 16px; overflow-wrap: anywhere; }
article ol { margin: 0 0 12px; padding-left: 28px; }
.gold, .gold b { color: var(--good); }
.answers { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(280px, 100%), 1fr)); }
.answer { border-top: 1px solid var(--rule); padding-top: 10px; }
dl { margin: 0; } dt { color: var(--soft); font-size: .84rem; } dd { margin: 0 0 10px; }
.text { white-space: pre-line; }
summary { cursor: pointer; color: var(--soft); }
"""


def document(
    title: str,
    kicker: str,
    verdict: Sequence[str],
    sections: Sequence[tuple[str, str]],
    style: str = "",
) -> str:
    """A whole page.

    Args:
      title, kicker: plain text: the heading and the line above it.
      verdict: plain sentences; the first stands out.
      sections: (heading, HTML) pairs; one whose HTML is empty is left out.
      style: rules behind those of `STYLE`.
    """
    lead, *more = [escape(sentence.replace(" %", "\u00a0%")) for sentence in verdict]
    body = "".join(
        f"<section><h2>{escape(heading)}</h2>{content}</section>"
        for heading, content in sections
        if content
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<main>
<header>
<p class="kicker">{escape(kicker)}</p>
<h1>{escape(title)}</h1>
<div class="verdict"><p class="lead">{lead}</p><p>{" ".join(more)}</p></div>
</header>
{body}
</main>
</body>
</html>
"""


def escape(text: str) -> str:
    """Text as HTML, for the inside of an element or of an attribute."""
    return html.escape(text, quote=True)
