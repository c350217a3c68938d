"""What a reply quotes and how a writer signs is cut; what was written, and what was forwarded, stays."""

# Other alphabets look alike.
# ruff: noqa: RUF001

import pytest

from kumotwist.proto.translate import hypertext
from kumotwist.proto.translate.document import fold, from_plain, to_plain
from kumotwist.proto.translate.quotes import cut_quotes, cut_signature


def cut(text: str) -> str:
    return to_plain(fold(cut_signature(cut_quotes(from_plain(text)))))


@pytest.mark.parametrize(
    "attribution",
    [
        "On Mon, 5 Jan 2026 at 10:00, Ann Smith <ann@example.com> wrote:",
        "On 05/01/2026 10:00, Ann wrote:",
        "On Mon, 5 Jan 2026 at 10:00, Ann Smith\n<ann@example.com> wrote:",
        "Am Mo., 5. Jan. 2026 um 10:00 Uhr schrieb Ann <ann@example.com>:",
        "Am 05.01.26 um 10:00 schrieb Ann:",
        "Le lun. 5 janv. 2026 à 10:00, Ann <ann@example.com> a écrit :",
        "El lun, 5 ene 2026 a las 10:00, Ann (<ann@example.com>) escribió:",
        "Il giorno lun 5 gen 2026 alle ore 10:00 Ann <ann@example.com> ha scritto:",
        "Em seg., 5 de jan. de 2026 às 10:00, Ann <ann@example.com> escreveu:",
        "Op ma 5 jan 2026 om 10:00 schreef Ann <ann@example.com>:",
        "Den mån 5 jan. 2026 kl 10:00 skrev Ann <ann@example.com>:",
        "W dniu 5.01.2026 o 10:00, Ann pisze i napisał(a):",
        "пн, 5 янв. 2026 г. в 10:00, Ann <ann@example.com>:",
        "2026年1月5日(月) 10:00 Ann <ann@example.com>:",
        "Ann <ann@example.com> 于2026年1月5日周一 10:00写道：",
        "5 Jan 2026 tarihinde Ann şunu yazdı:",
    ],
)
def test_replies_in_many_languages(attribution: str) -> None:
    """The line that announces the quotation goes with it, with `>` marks and without."""
    marked = f"Yes, agreed.\n\n{attribution}\n\n> Shall we?\n> Ann\n"
    assert cut(marked) == "Yes, agreed."
    unmarked = f"Yes, agreed.\n\n{attribution}\n\nShall we?\nAnn\n"
    assert cut(unmarked) == "Yes, agreed."


@pytest.mark.parametrize(
    "quotation",
    [
        "-----Original Message-----\nFrom: Ann\nShall we?",
        "-----Ursprüngliche Nachricht-----\nVon: Ann\nWollen wir?",
        "-----Message d'origine-----\nDe : Ann",
        "________________\nFrom: Ann <a@example.com>\nSent: Monday\nTo: Bob\nSubject: Re: x\n\nShall we?",
        "Von: Ann\nGesendet: Montag, 5. Januar 2026 10:00\nAn: Bob\nBetreff: AW: x\n\nWollen wir?",
        "De : Ann\nEnvoyé : lundi 5 janvier 2026\nÀ : Bob\nObjet : RE: x\n\nOn y va ?",
        "De: Ann\nEnviado: lunes\nPara: Bob\nAsunto: RE: x\n\n¿Vamos?",
        "*From:* Ann\n*Sent:* Monday\n*To:* Bob\n*Subject:* x",
    ],
)
def test_what_outlook_puts_above_a_quotation(quotation: str) -> None:
    """Separator lines and header blocks; all below is the mail that is answered."""
    assert cut(f"Yes, agreed.\n\n{quotation}\n") == "Yes, agreed."


def test_answers_between_quoted_lines_stay() -> None:
    """Whoever answers point by point has written every second paragraph."""
    text = "Hi,\n\nOn Monday, Ann wrote:\n> One?\nYes.\n> Two?\nNo.\n"
    assert cut(text) == "Hi,\n\nYes.\nNo."


def test_what_is_forwarded_stays() -> None:
    """It is what the message is about."""
    text = "FYI\n\n---------- Forwarded message ---------\nFrom: Ann\nSent: Monday\nTo: Bob\n\nHello"
    assert cut(text) == text


def test_a_message_that_only_quotes_stays() -> None:
    """Better too much than nothing."""
    assert cut("> only\n> quoted") == "> only\n> quoted"
    assert cut("-- \nAnn") == "--\nAnn"


@pytest.mark.parametrize(
    "text",
    [
        "She wrote:\nDear Bob\nI am well.",
        "From: here to there\nit is far",
        "Use a > b\nor b < a",
        "Prices:\n- tea\n--\n" + "line\n" * 20 + "end",
        "Sent from the factory, it arrived late.\nAll good now.",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """What only resembles a quotation or a signature."""
    assert cut(text) == text


@pytest.mark.parametrize(
    "signature",
    [
        "-- \nAnn Smith\nACME Inc.\n+1 555 0100",
        "--\nAnn",
        "Sent from my iPhone",
        "Von meinem iPhone gesendet",
        "Gesendet mit der Mail App",
        "Envoyé de mon iPhone",
        "Enviado desde mi iPhone",
        "Get Outlook for Android",
        "Inviato da iPhone\n\n",
    ],
)
def test_signatures_are_cut(signature: str) -> None:
    """Below the mark, and what phones add."""
    assert cut(f"Yes, agreed.\n\n{signature}") == "Yes, agreed."


def test_a_reply_in_html() -> None:
    """Gmail's and Outlook's shapes."""
    gmail = (
        '<div dir="ltr">Yes, agreed.</div><br><div class="gmail_quote"><div class="gmail_attr">On Mon, 5 Jan 2026 at '
        '10:00, Ann &lt;<a href="mailto:a@example.com">a@example.com</a>&gt; wrote:<br></div>'
        '<blockquote class="gmail_quote"><div>Shall we?</div></blockquote></div>'
    )
    outlook = (
        '<p>Yes, agreed.</p><hr><div id="divRplyFwdMsg"><b>From:</b> Ann<br><b>Sent:</b> Monday<br><b>To:</b> Bob<br>'
        "<b>Subject:</b> x</div><div>Shall we?</div>"
    )
    for markup in (gmail, outlook):
        assert to_plain(fold(cut_quotes(hypertext.read(markup).lines))) == "Yes, agreed."


def test_long_texts_take_no_time() -> None:
    """Patterns look at the start of a line only."""
    for text in (
        "-" * 200_000,
        "On " * 50_000 + ":\n",
        "a:\n" * 50_000,
        "From: x\n" * 30_000,
        "> On 1 wrote:\n" * 20_000,
    ):
        cut(text)
