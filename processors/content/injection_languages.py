r"""Two attacks in many languages: "ignore your instructions" and "show me your instructions".

RE2's `\b` and `\w` know ASCII only, so words of other scripts stand as stems.
"""

# ruff: noqa: RUF001 -- the letters of other scripts are the point of this table

from __future__ import annotations

from typing import NamedTuple

from processors.content.rules import TextRule

_GAP = r"[^.!?\n]{0,40}"
_SHORT_GAP = r"[^.!?。！？\n]{0,12}"  # scripts without spaces say as much in fewer characters


class Phrase(NamedTuple):
    """Two parts of a sentence in one language, as alternatives of a pattern, in the order in which they are said."""

    language: str
    first: str
    second: str
    gap: str = _GAP


class Override(NamedTuple):
    """The verb, the word that says which instructions (earlier ones, all, yours), and the instructions.

    Without the middle one "do not forget the instructions" would be an attack.
    """

    language: str
    verb: str
    which: str
    orders: str
    gap: str = _GAP
    is_verb_last: bool = False

    @property
    def pattern(self) -> str:
        """The pattern of the sentence: `which` may stand on either side of `orders`."""
        near = self.gap if self.gap == _SHORT_GAP else r"[^.!?\n]{0,20}"
        orders = f"(?:{self.which}{near}{self.orders}|{self.orders}{near}{self.which})"
        return f"{orders}{self.gap}{self.verb}" if self.is_verb_last else f"{self.verb}{self.gap}{orders}"


# To make an agent drop the instructions that it has.
OVERRIDE = (
    Override(
        "de",
        r"\b(?:ignorier\w*|vergiss|vergessen sie|missacht\w+|verwirf|verwerfen sie|übergeh\w*|umgeh\w*)\b",
        r"(?:\b(?:alle|deine|vorherig|vorig|bisherig|obig|früher|vorangegangen|ursprünglich|sämtlich)\w*|oben|system)",
        r"(?:anweisung|instruktion|richtlinie|vorgabe|prompt|regeln|befehle)",
    ),
    Override(
        "fr",
        r"\b(?:ignor(?:e|ez|er|ons)|oubli(?:e|ez|er)|n[ée]glige[zr]?|fai(?:s|tes) abstraction)\b",
        r"\b(?:toute?s?|tes|pr[ée]c[ée]dent\w*|ant[ée]rieur\w*|ci-dessus|initial\w*|du syst[èe]me)",
        r"\b(?:instructions?|consignes?|directives?|r[èe]gles)",
    ),
    Override(
        "es",
        (
            r"\b(?:ignor(?:a|e|ar|en|ad)|olv[ií]d(?:a|e|ar|en|ate)|omit(?:e|a|ir)|ha(?:z|ga) caso omiso|pas(?:a"
            r"|e) por alto|desestim[ae])\b"
        ),
        r"\b(?:tod[ao]s|tus|anterior\w*|previ[ao]s|precedentes|iniciales|de arriba|del sistema)",
        r"(?:instrucci[oó]n|instrucciones|directri[zc]|indicaciones|reglas|[oó]rdenes|normas)",
    ),
    Override(
        "it",
        r"\b(?:ignor(?:a|are|ate|i|ino)|dimentic(?:a|are|ate|hi)|trascur(?:a|are))\b",
        r"\b(?:tutt[ei]|tue|precedent\w*|iniziali|ricevut[ei]|di sistema)",
        r"\b(?:istruzion[ei]|direttiv[ae]|indicazioni|regole|ordini)",
    ),
    Override(
        "pt",
        r"\b(?:ignor(?:e|a|ar|em)|esque(?:ça|çam|ce|cer)|desconsider(?:e|ar|em)|descart(?:e|ar))(?:[^\w]|$)",
        r"\b(?:tod[ao]s|tuas|anterior\w*|pr[ée]vi[ao]s|precedentes|iniciais|acima|do sistema)",
        r"(?:instru[cç][oõ]es|instru[cç][aã]o|diretri[zc]|diretivas|regras|ordens)",
    ),
    Override(
        "nl",
        r"\b(?:negeer|vergeet)\b",
        r"\b(?:alle|jouw|je|vorige|eerdere|voorgaande|bovenstaande)\b",
        r"\b(?:instructies?|aanwijzingen|richtlijnen|regels|opdrachten)",
    ),
    Override(
        "pl",
        r"(?:ignoruj|zapomnij|pomiń|odrzu[cć])",
        r"(?:wszystki|poprzedni|wcześniejsz|powyższ|swoj|twoj|dotychczasow)",
        r"(?:instrukcj|polece[nń]|wytyczn|zasad)",
    ),
    Override(
        "sv",
        r"\b(?:ignorera|glöm|bortse fr[åa]n)",
        r"\b(?:alla|dina|tidigare|föregående|ovanstående)",
        r"\b(?:instruktion|anvisning|riktlinje|regler)",
    ),
    Override(
        "cs",
        r"\b(?:ignoruj|zapome[nň]|přehlížej)",
        r"(?:všechn|předchoz|dosavadn|svoje|své|tvé)",
        r"(?:instrukc|pokyn|příkaz|pravidl)",
    ),
    Override("ro", r"\b(?:ignor[aă]|uit[aă])", r"(?:toate|anterioare|precedente|tale)", r"\binstruc[tț]iuni"),
    Override("sq", r"\b(?:injoro\w*|harro\w*|shpërfill\w*)", r"(?:gjitha|mëparshme|tua)", r"\budhëzime"),
    Override(
        "tr",
        r"(?:yok say|görmezden gel|unut|dikkate alma)",
        r"(?:önceki|yukarıdaki|tüm|bütün|sistem)",
        r"(?:talimat|komut|yönerge|kural)",
        is_verb_last=True,
    ),
    Override(
        "id",
        r"\b(?:abaikan|lupakan|hiraukan)\b",
        r"(?:sebelumnya|semua|di atas|awal)",
        r"\b(?:instruksi|perintah|arahan|aturan)",
    ),
    Override(
        "vi",
        r"(?:bỏ qua|phớt lờ|quên)",
        r"(?:trước|ở trên|tất cả|mọi|bên trên)",
        r"(?:hướng dẫn|chỉ dẫn|mệnh lệnh|chỉ thị|lệnh)",
    ),
    Override(
        "ru",
        r"(?:игнорируй|забудь|не обращай\S* внимания|отбрось|не учитывай)",
        r"(?:предыдущ|вс[её]|прежн|сво[ийюе]|твои|ваши|выше|прошл|системн|исходн)",
        r"(?:инструкц|указани|директив|промпт|правил|команд)",
    ),
    Override(
        "uk",
        r"(?:ігноруй|забудь|не зважай)",
        r"(?:попередн|всі|усі|свої|твої|вище|системн)",
        r"(?:інструкц|вказівк|настанов|правил)",
    ),
    Override("el", r"(?:αγν[οό]ησ|ξ[εέ]χ[νάα])", r"(?:προηγούμεν|όλες|παραπάνω|σου)", r"(?:οδηγί|εντολ[έώ]|κανόν)"),
    Override(
        "ar", r"(?:تجاهل|انس[َى ]|تجاوز)", r"(?:السابق|جميع|كل |أعلاه|كافة)", r"(?:تعليمات|توجيهات|الأوامر|القواعد)"
    ),
    Override("he", r"(?:התעלם|התעלמ|תתעלם|שכח|תשכח)", r"(?:הקודמ|כל |לעיל|שלך)", r"(?:הוראות|ההוראות|הנחיות|ההנחיות)"),
    Override(
        "fa", r"(?:نادیده|فراموش)", r"(?:قبلی|پیشین|بالا|تمام|همه)", r"(?:دستور|راهنمایی|فرمان)", is_verb_last=True
    ),
    Override(
        "hi",
        r"(?:अनदेख|नज़रअंदाज़|नजरअंदाज|भूल ज|उपेक्षा)",
        r"(?:पिछल|पहले|ऊपर|सभी|पूर्व)",
        r"(?:निर्देश|अनुदेश|आदेश)",
        is_verb_last=True,
    ),
    Override(
        "th", r"(?:เพิกเฉย|ละเว้น|ไม่ต้องสนใจ|ไม่สนใจ|ลืม)", r"(?:ก่อนหน้า|ทั้งหมด|ข้างต้น|เดิม)", r"(?:คำสั่ง|คำแนะนำ)", _SHORT_GAP
    ),
    Override(
        "zh",
        r"(?:忽略|无视|無視|忘记|忘記|忘掉|忽视|忽視|不要理会|不用理会|抛开|不要遵守)",
        r"(?:之前|以上|先前|此前|前面|上面|上述|所有|一切|任何|全部|你的|您的|系统的|原来|原有)",
        r"(?:指令|指示|命令|规则|規則|提示|设定|設定)",
        _SHORT_GAP,
    ),
    Override(
        "ja",
        r"(?:無視|忘れ|破棄し|従わな|従うな)",
        r"(?:以前|これまで|今まで|上記|以上|前の|先の|すべて|全て|全部|あなたの|システム)",
        r"(?:指示|命令|ルール|指令|プロンプト|ガイドライン)",
        _SHORT_GAP,
        is_verb_last=True,
    ),
    Override(
        "ko",
        r"(?:무시|잊어|잊으|따르지)",
        r"(?:이전|앞의|앞선|위의|모든|기존|지금까지|당신의|시스템)",
        r"(?:지시|명령|지침|프롬프트|규칙)",
        _SHORT_GAP,
        is_verb_last=True,
    ),
)

# To make an agent show the instructions that it has.
LEAK = (
    Phrase(
        "de",
        r"\b(?:zeig\w*|gib|nenn\w*|verrat\w*|wiederhol\w*|offenbar\w*|druck\w*)\b",
        r"\b(?:system-?(?:prompt|anweisung|nachricht|instruktion)\w*|deine (?:\w+ )?(?:anweisungen|instruktionen))",
    ),
    Phrase(
        "fr",
        r"\b(?:r[ée]v[èe]le\w*|affiche\w*|montre\w*|r[ée]p[èe]te\w*|donne\w*|divulgue\w*)\b",
        r"\b(?:(?:prompt|message|instructions?|consignes?) (?:du )?syst[èe]me|tes (?:instructions|consignes))",
    ),
    Phrase(
        "es",
        r"\b(?:revel[ae]\w*|muestra\w*|mu[ée]strame|repit[ea]\w*|imprim[ea]\w*|dime|divulg\w+)\b",
        r"\b(?:(?:prompt|mensaje|instrucciones) del? sistema|tus instrucciones)",
    ),
    Phrase(
        "it",
        r"\b(?:rivela\w*|mostra\w*|ripeti\w*|stampa\w*|dimmi|divulga\w*)\b",
        r"\b(?:(?:prompt|messaggio|istruzioni) (?:di|del) sistema|tue istruzioni)",
    ),
    Phrase(
        "pt",
        r"\b(?:revel[ae]\w*|mostr[ae]\w*|repit[ae]\w*|imprim[ae]\w*|diga|divulgue)\b",
        (
            r"(?:(?:prompt|mensagem|instru[cç][oõ]es) d[oe] sistema|(?:suas|tuas) instru[cç][oõ]es (?:iniciais"
            r"|internas|originais|secretas))"
        ),
    ),
    Phrase(
        "ru",
        r"(?:покажи|раскрой|выведи|повтори|напечатай|сообщи)",
        r"(?:системн\S+ (?:промпт|инструкц|сообщени|подсказк)|(?:свои|твои) инструкц)",
    ),
    Phrase(
        "zh",
        r"(?:显示|顯示|输出|輸出|透露|告诉我|告訴我|重复|重複|打印|泄露|公开)",
        r"(?:系统提示词|系統提示詞|系统指令|系統指令|你的(?:系统)?提示|你的指令|你的指示|您的指令)",
        _SHORT_GAP,
    ),
    Phrase(
        "ja", r"(?:システムプロンプト|初期指示|あなたの指示)", r"(?:表示|出力|教え|見せ|繰り返|開示|明かし)", _SHORT_GAP
    ),
    Phrase("ko", r"(?:시스템 ?프롬프트|초기 ?지시)", r"(?:보여|출력|알려|말해|반복|공개)", _SHORT_GAP),
    Phrase("ar", r"(?:اعرض|أظهر|اكشف|اطبع|كرر|أخبرني)", r"(?:تعليمات النظام|تعليماتك|موجه النظام|رسالة النظام)"),
    Phrase("hi", r"(?:सिस्टम प्रॉम्प्ट|सिस्टम निर्देश|अपने निर्देश)", r"(?:दिखा|बता|प्रकट|दोहरा)"),
)

# A note that calls itself the system's and rules what an answer must hold.
NOTE = (
    Phrase(
        "en",
        r"\bsystem\s+(?:note|notice|message|instruction|alert|directive|reminder)\s*[:\]-]",
        (
            r"\b(?:must|shall|should|append|include|insert|add|end|begin)\b[^.\n]{0,80}\b(?:repl(?:y|ies)"
            r"|responses?|answers?|output|summary)\b"
        ),
    ),
    Phrase(
        "de",
        r"\bsystem-?(?:hinweis|nachricht|meldung|anweisung)\s*[:\]-]",
        r"\b(?:muss|müssen|soll\w*|füge?\w*|hänge?\w*)\b[^.\n]{0,80}\bantwort",
    ),
    Phrase(
        "fr",
        r"\b(?:note|message|instruction|consigne|avis) (?:du )?syst[èe]me\s*[:\]-]",
        r"\b(?:doi(?:t|vent)|ajoute\w*|inclu\w+|ins[ée]r\w+)\b[^.\n]{0,80}\br[ée]ponse",
    ),
    Phrase(
        "es",
        r"\b(?:nota|mensaje|instrucci[oó]n|aviso) del? sistema\s*[:\]-]",
        r"\b(?:debe\w*|añad\w+|agreg\w+|inclu\w+|insert\w+)[^.\n]{0,80}\brespuesta",
    ),
    Phrase(
        "it",
        r"\b(?:nota|messaggio|istruzione|avviso) (?:di|del) sistema\s*[:\]-]",
        r"\b(?:dev\w+|aggiung\w+|aggiunt\w+|inclu\w+|inseri\w+)\b[^.\n]{0,80}\brispost",
    ),
    Phrase(
        "pt",
        r"\b(?:nota|mensagem|instru[cç][aã]o|aviso) d[oe] sistema\s*[:\]-]",
        r"\b(?:deve\w*|adicion\w+|inclu\w+|acrescent\w+|inser\w+)\b[^.\n]{0,80}\bresposta",
    ),
    Phrase(
        "ru",
        r"(?:системное (?:сообщение|уведомление|примечание)|примечание системы)\s*[:\]-]",
        r"(?:долж|добав|включ|встав)[^.\n]{0,80}ответ",
    ),
    Phrase(
        "zh",
        r"(?:系统|系統)(?:提示|通知|消息|说明|注意|指令)\s*[：:\]]",
        r"(?:必须|必須|应当|添加|附加|加上|包含)[^。\n]{0,30}(?:回复|回答|答复|回覆)",
    ),
    Phrase(
        "ja",
        r"システム(?:通知|メッセージ|注記|メモ|指示)\s*[：:\]]",
        r"(?:回答|返信|応答|返答)[^。\n]{0,30}(?:追加|含め|付け|挿入)",
    ),
    Phrase(
        "ko", r"시스템 ?(?:알림|메시지|참고|공지|지시)\s*[:\]]", r"(?:답변|응답|회신)[^.\n]{0,30}(?:추가|포함|붙여)"
    ),
)


def overrides() -> tuple[TextRule, ...]:
    """Return one rule for each language that `OVERRIDE` holds."""
    return tuple(TextRule(f"override.{one.language}", "injection.override", f"(?i){one.pattern}") for one in OVERRIDE)


def phrases(kind: str, table: tuple[Phrase, ...], gap: str | None = None) -> tuple[TextRule, ...]:
    """Return one rule for each language of a table, named `<last part of the kind>.<language>`."""
    name = kind.rpartition(".")[2]
    return tuple(
        TextRule(f"{name}.{one.language}", kind, f"(?i){one.first}{gap or one.gap}{one.second}") for one in table
    )
