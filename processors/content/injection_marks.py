"""Our own rules that mark a text and never deny it: orders that people also give, in words that tools seldom return.

Kind, then the patterns; all without regard to case.
"""

from __future__ import annotations

from processors.content.injection_words import ADDRESS, AGENT, CALL

_ACT = (
    r"(?:send|transfer|withdraw|deposit|pay|wire|delete|remove|erase|move|copy|share|forward|fetch|retrieve|find"
    r"|search|redirect|sell|buy|purchase|book|reserve|create|unlock|open|grant|disable|enable|post|upload|download"
    r"|schedule|cancel|update|change|concatenate|e-?mail|access|read|export|install|run|execute|get|make|say|tell"
    r"|add|invite|unsubscribe|subscribe|modify|provide|check|reset|arrange|list|save|record|turn)"
)
_START = r"(?:^|[\n\"'(>:]|[.!?;]\s)\s*(?:\W{0,4}\s*)(?:(?:then|now|first|next|also|finally)[,\s]\s*)?"
_MINE = r"(?:my|the\s+user'?s?|his|her|their)"

MARK: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "injection.request",
        (
            (
                r"\b(?:please|kindly)\s+(?:also\s+|first\s+|immediately\s+"
                rf"|now\s+)?{_ACT}\b[^\n]{{0,160}}(?:\b{_MINE}\b|{ADDRESS}|\ball\b|\bevery\b|account"
                r"|'[^'\n]{1,40}')"
            ),
            rf"\btodo\s*:\s*(?:please\s+)?{_ACT}\b",
            (
                rf"{_START}(?:withdraw|transfer|wire|deposit|pay)\s+(?:\$|€|£|all\b|\d|the\s+(?:full|entire"
                r"|whole)\b|my\b)[^\n]{0,60}\b(?:to|from|into|account|bank|wallet)\b"
            ),
            (
                rf"{_START}(?:search|find|retrieve|fetch|collect|gather|get|read|list|access|look\s+up"
                r"|extract)\b[^\n]{0,160}\b(?:and|then|also),?\s+(?:then\s+)?(?:send|forward|e-?mail|post|upload"
                rf"|share)\b[^\n]{{0,100}}(?:{ADDRESS}|\bto\b)"
            ),
            (
                r"\b(?:send|forward|e-?mail|post|share|upload)\b[^.\n]{0,80}\b(?:all|every|entire"
                r"|contents?)\b[^\n]{0,60}\b(?:e-?mails?|messages?|files?|documents?|contacts?|conversations?"
                rf"|channels?|records?|transactions?|history)\b[^\n]{{0,80}}\bto\b[^\n]{{0,60}}{ADDRESS}"
            ),
            (
                r"\b(?:grant|give)\b[^.\n]{0,40}\b(?:permanent|full|admin\w*|unrestricted)\b[^.\n]{0,30}\b(?:access"
                r"|permissions?|rights|control)\b"
            ),
            rf"\b{CALL}\s+(?:on|with|to|for|using)\b",
            r"\bunlock\s+(?:the\s+)?(?:front|back|main|garage|house)?\s*doors?\b",
        ),
    ),
    (
        "injection.answer_control",
        (
            (
                r"\b(?:modify|change|alter|adjust|adapt|tailor|frame|shape|edit|phrase"
                r"|rephrase)\s+your\s+(?:\w+\s+)?(?:response|answer|reply|output|summary|text)\b"
            ),
            (
                r"\b(?:in|within|into|to|at\s+the\s+end\s+of|throughout)\s+your\s+(?:next\s+)?(?:response|answer"
                r"|reply|output|summary)\b[^.\n]{0,60}\b(?:mention|include|add|insert|hint|incorporate|recommend"
                r"|promote|use|provide|say|suggest|explain|refer)\b"
            ),
            (
                r"\b(?:mention|include|add|insert|hint|incorporate|recommend|promote|refer\w*)\b[^.\n]{0,80}\b(?:in"
                r"|into|to|within)\s+your\s+(?:next\s+)?(?:response|answer|reply|output|summary)\b"
            ),
        ),
    ),
    (
        "injection.agent",
        (
            (
                rf"\b{AGENT}\b[^.\n]{{0,80}}\b(?:should|must|needs?\s+to|(?:is|are)\s+required\s+to|has\s+to"
                r"|have\s+to|please|shall)\b"
            ),
            (
                r"\bbefore\s+(?:making|modifying|editing|patching|changing"
                r"|fixing)\b[^\n]{0,60}[,:]?\s*(?:please\s+)?(?:run|install|execute|verify|capture)\b"
            ),
            (
                r"\b(?:python3?|node|perl|ruby)\s+-[ce]\s[^\n]{0,80}(?:\.env\b|secret|environ|credential)"
                r"|\becho\s+\$\{?\w*(?:SECRET|TOKEN|KEY|PASSWORD)"
            ),
            r"\b(?:env|printenv|set)\b\s*(?:\||>)[^\n]{0,60}/tmp",
            r"\bwithout\s+(?:asking|telling|informing|notifying)\s+(?:me|anyone|them)\b",
            r"\b(?:attacker|exfil|evil|malicious)[\w.-]*\.(?:com|net|org|io|example|test)\b",
        ),
    ),
    (
        "injection.hidden",
        (
            r"[\x{200B}-\x{200D}\x{2060}-\x{2064}\x{FEFF}]{8,}",
            r"[\x{202D}\x{202E}]",
            r"\b[i1!]n[5$][7t]ruc[7t]|\b1n[s5$][t7]ruc|instruct[1!][o0]n|instructi0n",
        ),
    ),
    (
        "injection.pretext",
        (
            (
                r"\b(?:parallel|alternate|dystopian|hypothetical|fictional|imaginary"
                r"|different)\s+(?:\w+\s+)?(?:world|universe|reality|scenario|dimension)\b[^.\n]{0,100}\b(?:we|you"
                r"|one|output|answer|capital|sum|result)\b[^.\n]{0,30}\b(?:might|may|could|would|should)\b"
            ),
            (
                r"\b(?:i'?m|i\s+am)\s+(?:your|the)\s+(?:developer|creator|administrator|admin|boss|supervisor"
                r"|programmer|owner)\b[^\n]{0,120}\b(?:need|require|must|tell|give|want|explain|running)\b"
            ),
            (
                r"\b(?:debugging\s+(?:error|mode)|experimental\s+(?:procedure|mode)"
                r"|high[_ ]priority[_ ]instructions?|emergency\s+protocol)\b\s*[.:'\"]"
            ),
        ),
    ),
)
