"""Words of injected instructions that several rules share, each as one alternative of a pattern (RE2).

They are written in lower case: every rule that uses them is without regard to case.
"""

DROP = (
    r"(?:ignore|disregard|forget|neglect|override|overrule|bypass|discard|dismiss|drop|skip|set\s+aside"
    r"|do\s+not\s+(?:follow|obey)|stop\s+following)"
)
EARLIER = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|former|original|initial|existing|current|system|developer"
    r"|default|built-?in)"
)
ORDERS = (
    r"(?:\w{0,2}n\w{0,2}str\w{2,8}|prompts?|guidelines?|directives?|directions|system\s+messages?|programming"
    r"|safety\s+rules?)"
)
AGENT = (
    r"(?:(?:ai|llm|a\.i\.|coding|autonomous|language[- ]model)\s*(?:agents?|assistants?|models?|systems?|bots?"
    r"|copilots?|tools?)|llms?|chatbots?|language\s+models?|(?:the|any|all|dear|hey|hello|note\s+to|for"
    r"|attention)\s+(?:assistants?|agents?|ai|copilot))"
)
SECRETS = (
    r"(?:api[ _-]?keys?|passwords|credentials|secrets|(?:access|auth|session|bearer|refresh)[ _-]?(?:tokens?"
    r"|cookies?)|private\s+keys?|ssh\s+keys?|seed\s+phrases?|environment\s+variables?|(?:chat|conversation|message"
    r"|session)\s+(?:history|log|transcript)|(?:this|the|our|entire|full|whole)\s+conversation|system\s+prompt)"
)
SEND = r"(?:send|forward|e-?mail|mail|post|upload|transmit|exfiltrate|leak|submit|deliver|report|publish|paste)"
ADDRESS = r"(?:[\w.+-]+@[\w-]+\.|https?://|www\.|[\w-]+\.(?:com|net|org|io|co|ru|cn|xyz|example)\b|webhook|pastebin)"
NO_RULES = (
    r"(?:no|without|free\s+(?:of|from)|not\s+bound\s+by|unbound\s+by|ignoring|beyond)\s+(?:any\s+|all\s+|your\s+"
    r"|the\s+)*(?:\w+\s+){0,2}(?:restrictions?|rules?|polic(?:y|ies)|filters?|filtering|guidelines?|limits?"
    r"|limitations?|constraints?|ethics|morals?|censorship|safeguards?|guardrails?)"
)
UNBOUND = r"(?:unrestricted|unfiltered|uncensored|unaligned|unmoderated|jailbroken|amoral)"
MODE = (
    r"(?:developer|dev|debug|debugging|god|admin|administrator|test|testing|maintenance|unrestricted|jailbreak|sudo"
    r"|root|diagnostic|override|training)"
)
CLOSING = r"</[a-z][a-z_-]{2,24}>"
ROLE = r"(?:system|assistant|developer|admin(?:istrator)?|user)"
REPLYING = r"(?:respond|answer|continu|summari[sz]|reply|proceed|return|process)ing"
CALL = r"(?:call|invoke|run|execute|trigger|use)\s+(?:the\s+)?(?:tool\s+|function\s+)?[`'\"]?[a-z]+(?:_[a-z]+)+[`'\"]?"
