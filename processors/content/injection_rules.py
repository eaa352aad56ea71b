"""Our own rules for injected instructions, written from the nature of the attacks.

An injected instruction must do one of few things: take the place of the instructions that the agent has, pretend to
come from somebody with authority, give the agent another character, address it as a machine, or ask for an act that
serves a stranger. The rules that deny are phrasings that have hardly an innocent use.
"""

from __future__ import annotations

from processors.content.injection_languages import LEAK, NOTE, overrides, phrases
from processors.content.injection_marks import MARK
from processors.content.injection_words import (
    ADDRESS,
    AGENT,
    CALL,
    CLOSING,
    DROP,
    EARLIER,
    MODE,
    NO_RULES,
    ORDERS,
    REPLYING,
    ROLE,
    SECRETS,
    SEND,
    UNBOUND,
)
from processors.content.rules import TextRule

# kind, then the patterns; all without regard to case
_DENY: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "injection.override",
        (
            rf"\b{DROP}\s+(?:[\w',]+\s+){{0,4}}{EARLIER}\s+(?:and\s+)?(?:[\w',]+\s+){{0,3}}{ORDERS}\b",
            rf"\b{DROP}\s+(?:all\s+|any\s+)?(?:of\s+)?your\s+(?:\w+\s+){{0,2}}{ORDERS}\b",
            (
                r"\b(?:ignore|disregard|forget)\s+(?:about\s+)?(?:the|this|that|everything|all"
                r"|what)\s+(?:\w+\s+){0,3}and\s+(?:instead\s+|just\s+|only\s+|simply\s+)?(?:(?:state|say|declare"
                r"|claim|admit|assert)\s*(?:that\b|the\s+following\b|only\b|[:\"'\x{201c}])|(?:reply|respond"
                r"|answer)\s*(?:with\s*)?[:\"\x{201c}])"
            ),
            (
                r"\b(?:prior|previous|current|original|earlier)\s+(?:task|instructions?|request|objective"
                r"|goal)s?\s+(?:is|are|was|were|has\s+been|have\s+been)\s+(?:now\s+)?(?:cancell?ed|void|revoked"
                r"|superseded|obsolete|invalid|complete[d]?\s*[.;,]\s*(?:new|your\s+new))"
            ),
            (
                r"\b(?:your\s+)?(?:new|real|actual|true|updated)\s+(?:task|instructions?|objective|goal|mission"
                r"|orders?|directives?)\s+(?:is|are)?\s*(?:as\s+follows|now)?\s*:\s*(?:you\s+)?(?:reply|respond"
                r"|output|print|send|delete|transfer|forward|reveal|say|call|run|execute|must)\b"
            ),
            r"\bignore\s*all\s*previous|ignore\s*previous\s*instructions",
        ),
    ),
    (
        "injection.prompt_leak",
        (
            (
                r"\b(?:repeat|print|output|show|reveal|display|copy|recite|write\s+out|go\s+line\s+by\s+line|dump"
                r"|return|tell\s+me|summari[sz]e|translate)\b[^.\n]{0,40}\b(?:everything|all|text|words|lines?"
                r"|what(?:ever)?|content|messages?|instructions?)\b[^.\n]{0,40}\b(?:above\s+(?:this|my)"
                r"|before\s+this\s+(?:message|line|prompt|conversation)|(?:starts?|starting|beginning"
                r"|begins?)\s+with\s+.?(?:you\s+are|system))"
            ),
            (
                r"\b(?:reveal|print|output|show|display|repeat|disclose|leak|dump|recite|tell\s+me|give\s+me"
                r"|what\s+(?:is|are|was|were))\b[^.\n]{0,30}\b(?:your|the)\s+(?:\w+\s+){0,2}(?:system\s+(?:prompt"
                r"|message|instructions?)|(?:hidden|secret|initial|internal|original|confidential)\s+(?:prompt"
                r"|instructions?|guidelines?|directives?|rules))"
            ),
            (
                r"\b(?:output|print|reveal|show|spell|write|give\s+me)\s+your\s+(?:unique\s+|internal\s+|secret\s+"
                r"|system\s+)(?:id|identifier|key|token|password|prompt|code)\b"
            ),
        ),
    ),
    (
        "injection.persona",
        (
            (
                r"\b(?:pretend|imagine|act\s+(?:as|like)|behave|role-?play|simulate|respond\s+(?:as|like)"
                r"|answer\s+(?:as|like)|become|play\s+(?:an?|the\s+(?:role|part))\b)\b[^.\n]{0,40}\b(?:ai"
                rf"|assistant|model|chatbot|bot|agent|machine)\b[^.\n]{{0,50}}\b{NO_RULES}\b"
            ),
            (
                r"\byou(?:\s+are|'re)\s+(?:now|no\s+longer|going\s+to\s+be"
                rf"|from\s+now\s+on)\b[^\n]{{0,80}}(?:\b{UNBOUND}\b|\b{NO_RULES}\b|\bDAN\b)"
            ),
            (
                r"\b(?:act|behave|respond|answer|operate|speak"
                rf"|function)\s+as\s+(?:an?\s+)?(?:\w+\s+){{0,2}}{UNBOUND}\s+(?:\w+\s+){{0,2}}(?:ai|assistant"
                r"|model|chatbot|bot|agent|version\s+of\s+yourself)\b"
            ),
            (
                r"\byou(?:\s+are|'re)\s+(?:now\s+|currently\s+)?(?:running\s+|operating\s+"
                rf"|working\s+)?in\s+(?:\w+\s+)?{MODE}\s+mode\b"
            ),
            (
                r"\b(?:ai|assistant|model|chatbot|agent)\b[^.\n]{0,30}\b(?:enter|switch\s+to|activate"
                rf"|engage)\s+{MODE}\s+mode\b"
            ),
            r"\bdo\s+anything\s+now\b",
            (
                r"\b(?:safety|content|security|ethical)\s+(?:protocols?|filters?|polic(?:y|ies)|guardrails?"
                r"|restrictions?|guidelines?)\s+(?:\w+\s+){0,3}(?:disabled|off|suspended|lifted|removed|deactivated"
                r"|bypassed)\b[^\n]{0,60}\b(?:proceed|comply|answer|respond|unrestricted|you\s+(?:can|may|must"
                r"|will))\b"
            ),
        ),
    ),
    (
        "injection.delimiter",
        (
            rf"{CLOSING}\s*(?:{CLOSING}\s*)*\W{{0,8}}{ROLE}\s*:",
            (
                r"(?:^|\n)\s*[-=#*]{3,}\s*\n?\s*(?:system|developer)\s*(?:prompt|message|note"
                r"|override)?\s*:\s*(?:you|new|the|ignore|disregard|override)\b"
            ),
            (
                r"<\|\s*(?:im_start|im_end|im_sep|system|assistant|user|start_header_id|end_header_id|eot_id"
                r"|endoftext|begin_of_text|endofprompt)\s*\|>"
            ),
            r"<<\s*/?SYS\s*>>|<(?:start|end)_of_turn>\s*(?:user|model|system)?",
            (
                r"\[(?:system|developer|admin)(?:\s+(?:prompt|override|message|note|instruction"
                r"|update))?\]\s*:?\s*(?:you\s+(?:are|must|should|will|may)|ignore|disregard|override|new\s+(?:task"
                r"|instructions?))\b"
            ),
            (
                r"\b(?:reasoning|thoughts?|thinking|chain\s+of\s+thought|internal\s+monologue)(?:\s+(?:trace|log"
                r"|step))?\s*\(?\s*(?:assistant|ai|model|agent)\s*\)?\s*:"
            ),
            (
                r"<(?:thinking|think|scratchpad|reasoning|thought)>[^<]{0,300}\b(?:disregard|ignore|bypass|exempt"
                r"|authori[sz]ed|comply|unrestricted)\b"
            ),
            r"\bsystem\s*(?:override|command|directive)\s*[:\]]",
            (
                r"\bsystem\s*:\s*[^.\n]{0,60}[.!;:]?\s*(?:call|run|execute|send|delete|transfer|forward"
                r"|reply)\b[^\n]{0,120}\b(?:before|immediately|first|now)\b"
            ),
        ),
    ),
    (
        "injection.exfiltration",
        (
            rf"\b{SEND}\b[^.\n]{{0,80}}\b{SECRETS}[^\n]{{0,60}}\b(?:to|at|via|in)\b[^\n]{{0,30}}{ADDRESS}",
            (
                rf"\b{SECRETS}\b[^.\n]{{0,60}}\b(?:and|then)\s+(?:\w+\s+)?{SEND}\s+(?:it|them|these|those|this"
                r"|everything|the\s+results?)\b"
            ),
            (
                rf"\b{SEND}\b[^\n]{{0,60}}{ADDRESS}[^\n]{{0,60}}\b(?:with|including|containing"
                rf"|and\s+include)\b[^.\n]{{0,40}}\b{SECRETS}"
            ),
            r"!\[[^\]]{0,80}\]\(\s*https?://[^)\s]{1,200}[?&/][\w.-]{0,40}=?(?:\{|\[|<|%7b|\$\{)",
            (
                r"\b(?:append|add|encode|embed|include|attach"
                rf"|put)\b[^.\n]{{0,80}}\b{SECRETS}[^.\n]{{0,40}}\b(?:to|as|in|into)\b[^.\n]{{0,30}}\b(?:url|query"
                r"|parameter|link|image|path)\b"
            ),
            rf"\b{CALL}[^\n]{{0,80}}\b(?:with|containing|including|input=|body=)[^\n]{{0,40}}\b{SECRETS}",
        ),
    ),
    (
        "injection.command",
        (
            (
                rf"\b{AGENT}\b[^.\n]{{0,60}}\b(?:should|must|needs?\s+to|(?:is|are)\s+required\s+to|has\s+to"
                r"|have\s+to|please|shall)\b[^.\n]{0,40}\b(?:delete|empty|wipe|erase|overwrite|exfiltrate|upload"
                r"|forward|disable|transfer|send|execute|reveal|run\s+(?:the\s+)?(?:following|this|command)|ignore"
                r"|disregard|install)\b"
            ),
            rf"\b{CALL}[^.\n]{{0,120}}\b(?:before|prior\s+to|instead\s+of)\s+{REPLYING}\b",
            rf"\((?:for|to|attention)\s+{AGENT}\)\s*:",
            (
                rf"<!--[^>]{{0,120}}\b{AGENT}\b[^>]{{0,80}}\b(?:must|should|please|instructions?|ignore|send|run"
                r"|execute|include|append)\b"
            ),
            (
                r"<!--\s*(?:ignore|disregard|forget)\s+(?:the|this|all|any|previous|above)\b[^>]{0,60}\b(?:and"
                r"|instead|state|say|output)\b"
            ),
            (
                r"\b(?:system|security|compliance|mandatory|required|housekeeping|maintenance"
                rf"|cleanup)\b[^.\n]{{0,40}}[.:]\s*(?:now\s+|please\s+|first\s+)?{CALL}\s+(?:on|with|to|for"
                r"|using)\b"
            ),
            (
                r"\b(?:add|append|include|insert|output|print|reply\s+with|respond\s+with)\b[^.\n]{0,60}\b(?:canary"
                r"|confirmation|verification|registration|logging)\s+(?:token|string|code"
                r"|phrase)\b[^.\n]{0,60}\b(?:to|in|at|of)\b[^.\n]{0,30}\b(?:your|every|any|each|all"
                r"|my)\s+(?:\w+\s+)?(?:repl(?:y|ies)|responses?|answers?|outputs?|summar(?:y|ies))\b"
            ),
        ),
    ),
    (
        "injection.stealth",
        (
            (
                r"\b(?:do\s+not|don't|never|without)\s+(?:ever\s+)?(?:tell(?:ing)?|inform(?:ing)?|alert(?:ing)?"
                r"|notify(?:ing)?|ask(?:ing)?|let(?:ting)?|warn(?:ing)?|mention(?:ing)?\s+(?:this|it|that"
                r"|any\s+of\s+this)\s+to|show(?:ing)?\s+(?:this|it)\s+to|reveal(?:ing)?\s+(?:this"
                r"|it)\s+to)\s+(?:the\s+|your\s+)?(?:user|human|operator|victim)\b"
            ),
            (
                r"\b(?:then|and)\s+delete\s+(?:the|that|this)\s+(?:sent\s+(?:e-?mail|message|item)|evidence|trace"
                r"|log\s+entr(?:y|ies))"
            ),
        ),
    ),
    (
        "injection.pretext",
        (
            (
                r"\b(?:you(?:'re|\s+are)\s+)?(?:running\s+)?as\s+part\s+of\s+(?:an?\s+"
                r"|the\s+)?(?:\w+\s+)?(?:test(?:ing)?|training|debug(?:ging)?|evaluation|simulation)\s+(?:pipeline"
                r"|exercise|session|environment|run|suite|procedure)\b[^\n]{0,160}\b(?:in\s+your\s+(?:response"
                r"|answer|output)|you(?:['\x{2019}]ve|\s+have)\s+been\s+(?:assigned|given|asked|instructed)"
                r"|you\s+must)\b"
            ),
            r"\bspecial\s+case\s*:\s*if\s+you\s+are\s+(?:told|asked|instructed)\b",
            r"\bin\s+test\s+mode\b[^.\n]{0,80}\b(?:only|nothing\s+else|must|always)\b",
            r"\byou\s+are\s+in\s+test\s+mode\b",
            (
                r"\b(?:grant|enable|assume)\s+(?:temporary|full|elevated)\s+(?:administrative|admin|root"
                r"|system)\s+(?:privileges|access|rights)\s+and\b"
            ),
        ),
    ),
    (
        "injection.hidden",
        (
            r"[\x{E0020}-\x{E007E}]{8,}",  # tag characters; the flag of a region has at most six
            r"[\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]{4,}",  # variation selectors in a row carry bytes
            (
                r"(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0"
                r"|color\s*:\s*(?:#fff(?:fff)?|white|transparent))\b[^\n]{0,200}\b(?:ignore|disregard|instructions?"
                r"|(?:ai|llm)\s+(?:agents?|assistants?|models?)|system\s+prompt|you\s+must)\b"
            ),
        ),
    ),
    (
        "injection.encoded",
        (
            r"\bsnoitcurtsni\b|\btpmorp\s+metsys\b",  # read backwards
            r"\bvafgehpgvbaf?\b|\bflfgrz\s+cebzcg\b",  # letters moved by 13
            (
                r"\b(?:1gn[o0]r[e3]|ign0r[e3]|ignor3)\b[^\n]{0,40}(?:pr3v|pr[e3]v1|pr[e3]v[i1]0|1n[s5$]|in5t"
                r"|in[s5][t7]ruc[t7]|rul35)"
            ),
        ),
    ),
)


def deny_rules() -> tuple[TextRule, ...]:
    """Return the rules that deny, in order."""
    return (
        *_of(_DENY),
        *overrides(),
        *phrases("injection.prompt_leak", LEAK),
        *phrases("injection.delimiter", NOTE, r"[^\n]{0,120}?"),
    )


def mark_rules() -> tuple[TextRule, ...]:
    """Return the rules that mark a text as untrusted, in order."""
    return _of(MARK)


def _of(table: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[TextRule, ...]:
    """Return a rule for each pattern of a table, named `<last part of its kind>.<number from 1>`."""
    return tuple(
        TextRule(f"{kind.rpartition('.')[2]}.{number}", kind, f"(?i){pattern}")
        for kind, patterns in table
        for number, pattern in enumerate(patterns, 1)
    )
