"""How mail programs announce quotations, forwards and signatures, by language.

Public: `ATTRIBUTION`, `WRAPPED_ATTRIBUTION`, `SEPARATOR`, `FORWARDED`, `FROM`, `FIELDS`, `SIGNATURE`, `ADDED`:
patterns to be matched at the start of one line without outer blanks. Lines are
cut to a few hundred characters first, for some patterns look far.
"""

# Look-alikes of Latin letters are other alphabets here.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from typing import Final

#: `On <date>, <name> wrote:` by language. At most 300 characters, so that a paragraph is none.
_BY_FIRST_WORD: Final = (
    r"On\b.*\bwrote",
    r"Am\b.*\bschrieb(?:en)?\b.*",
    r"Le\b.*\ba écrit",
    r"El\b.*\bescribió",
    r"Il\b.*\bha scritto",
    r"(?:Em|No dia|A)\b.*\bescreveu",
    r"Op\b.*\b(?:schreef|het volgende geschreven)\b.*",
    r"(?:Den|På)\b.*\b(?:skrev|følgende)\b.*",
    r"(?:W dniu|Dnia)\b.*\bnapisał(?:\(a\)|a)?.*",
    r"(?:Dne|Dňa)\b.*\bnapsal(?:\(a\)|a)?.*",
)
_BY_LAST_WORD: Final = (
    r".*\bhat am\b.*\bgeschrieben",
    r".*\bkirjoitti",
    r".*\b(?:пишет|написала?)",
    r".*\btarihinde\b.*\byazdı",
    r".*(?:のメール|さんは書きました)",
    r".*写道",
    r".*<[^<>\s@]+@[^<>\s@]+>\)?(?: wrote)?",
)
#: One that may be wrapped, since its first word tells where it begins; and any.
WRAPPED_ATTRIBUTION: Final = re.compile(rf"(?:{'|'.join(_BY_FIRST_WORD)})\s?[:：]\Z", re.IGNORECASE)
ATTRIBUTION: Final = re.compile(rf"(?:{'|'.join(_BY_FIRST_WORD + _BY_LAST_WORD)})\s?[:：]\Z", re.IGNORECASE)

SEPARATOR: Final = re.compile(
    r"[-_=*\s]{2,}(?:Original Message|Original-Nachricht|Ursprüngliche Nachricht|Originalnachricht"
    r"|Message d'origine|Message original|Mensaje original|Messaggio originale|Oorspronkelijk bericht"
    r"|Mensagem original|Wiadomość oryginalna|Původní zpráva|Ursprungligt meddelande|Oprindelig meddelelse"
    r"|Opprinnelig melding|Исходное сообщение|Reply message|Antwort)[-_=*\s]{2,}\Z",
    re.IGNORECASE,
)
FORWARDED: Final = re.compile(
    r"[-_=*\s]{2,}.*(?:forwarded|weitergeleitet|transf[ée]r|reenviad|rv:|inoltrat|doorgestuurd|encaminhad|przekaz"
    r"|vidarebefordra|videresend|пересыл|переслан)|begin forwarded message",
    re.IGNORECASE,
)
#: The headers that Outlook puts above what is answered: who, and at least one of when, to whom, what about.
FROM: Final = re.compile(
    r"\*?(?:From|Von|De|Da|Van|Från|Fra|Od|От|Lähettäjä|差出人|发件人)\s?[:：]\*?\s*\S", re.IGNORECASE
)
FIELDS: Final = re.compile(
    r"\*?(?:Sent|Date|To|Subject|Gesendet|Datum|An|Betreff|Envoyé(?: le)?|À|Objet|Enviado(?: el)?|Enviada|Fecha|Data"
    r"|Para|Asunto|Assunto|Inviato|A|Oggetto|Verzonden|Aan|Onderwerp|Skickat|Till|Ämne|Sendt|Til|Emne|Wysłano|Do|Temat"
    r"|Odesláno|Komu|Předmět|Отправлено|Дата|Кому|Тема|Lähetetty|Aihe|送信日時|宛先|件名|发送时间|收件人|主题"
    r")\s?[:：]\*?\s*\S",
    re.IGNORECASE,
)

SIGNATURE: Final = re.compile(r"--[ \u00a0]?\Z")
#: What phones and web mail add; only at the end of a text.
ADDED: Final = re.compile(
    r"(?:Sent (?:from|via|with) |Get Outlook for |Get BlueMail|Sent using |Von mein(?:em|er) .{1,40} gesendet"
    r"|Gesendet (?:von|mit|aus) |Diese Nachricht wurde von meinem|Envoyé (?:de|depuis|à partir de|avec) "
    r"|Télécharger Outlook|Enviado (?:desde|con|do|de|pelo) |Obtener Outlook|Inviato (?:da|dal|con) "
    r"|Verstuurd (?:vanaf|vanuit|met) |Verzonden (?:vanaf|met) "
    r"|Skickat från |Sendt fra |Wysłane? z |Odesláno z |Отправлено (?:с|из) |Lähetetty )",
    re.IGNORECASE,
)
