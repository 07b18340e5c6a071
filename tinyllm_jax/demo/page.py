"""The demo's page, made with gradio. It listens on this machine alone and reports to nobody."""

import html
import os
from collections.abc import Mapping

from tinyllm_jax.demo.ask import MOST_CHOICES, ask, typed_question
from tinyllm_jax.errors import UserError
from tinyllm_jax.student.student import Student

HOST = "127.0.0.1"


def load_gradio():
    """The package gradio, told not to report how it is used.

    Raises:
      UserError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read while it is imported
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as e:
        raise UserError(
            f"the demo's page needs gradio ({e}): pip install 'tinyllm_jax[demo]'"
        ) from None
    return gradio


def serve(students: Mapping[str, Student], port: int, wait: bool = True):
    """Shows the page until it is interrupted.

    Args:
      students: by the names under which they are shown.
      port: where it listens, on this machine alone.
      wait: whether to return only when it is interrupted.

    Returns:
      The page; its `close` ends it.

    Raises:
      UserError: gradio is absent, or the port is taken.
    """
    page = make_page(students)
    try:
        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
        )
    except OSError:
        raise UserError(f"port {port} is taken; choose another one with --port") from None
    print(f"http://{HOST}:{port}  {', '.join(students)}  (Ctrl-C ends it)", flush=True)
    if wait:
        page.block_thread()
    return page


def make_page(students: Mapping[str, Student]):
    """The page, not served yet: its fields, and below them what each student replies.

    Models' texts stand in text fields, so nothing in them is read as HTML or Markdown.

    Raises:
      UserError: gradio is absent.
    """
    gradio = load_gradio()

    def reply(question: str, choices: str, context: str) -> list:
        """Puts a question with its choices, one a line, and perhaps a context to every student."""
        shown: list = []
        try:
            typed = typed_question(question, choices, context)
            for name, student in students.items():
                found = ask(student, typed)
                if found.cut:
                    gradio.Warning(
                        f"{html.escape(name)} did not read the context's last {found.cut:,} tokens"
                    )
                likely = dict(zip(typed.lettered, found.probabilities, strict=True))
                shown += [likely, found.written, *found.rationales.values()]
        except UserError as e:
            raise gradio.Error(html.escape(str(e)), print_exception=False) from None
        return shown

    with gradio.Blocks(title="tinyllm demo", analytics_enabled=False) as page:
        asked = [
            gradio.Textbox(label="Question"),
            gradio.Textbox(label=f"Choices, one a line, 2 to {MOST_CHOICES}", lines=4),
            gradio.Textbox(label="Context (optional)", lines=2),
        ]
        button = gradio.Button("Ask", variant="primary")
        shown: list = []
        with gradio.Row():
            for name, student in students.items():
                with gradio.Column(min_width=320):
                    shown += [
                        gradio.Label(label=f"{name}: probability", show_heading=False),
                        gradio.Textbox(label=f"{name} writes"),
                        *(
                            gradio.Textbox(label=f"{name} explains as {teacher}", lines=2)
                            for teacher in student.teachers
                        ),
                    ]
        button.click(reply, asked, shown, api_name="ask")
    return page
