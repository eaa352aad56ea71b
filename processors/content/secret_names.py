"""Secrets without a mark of their issuer: letters and digits of a published length, behind the provider's name.

`adafruit_api_key = "…"`, `"adafruitToken": "…"`, `<adafruit.key>…</adafruit.key>`, `ADAFRUIT_KEY ?= …`,
`setProperty("adafruit.key", "…")`: a name, the sign of an assignment, perhaps quotes, the value.
"""

from __future__ import annotations

from processors.content.secret_rules import HEX, UUID, SecretRule

# Behind the provider's name: the rest of the name; quotes and brackets that close it; an assignment; those that open.
_REST = r"[\w. \t-]{0,30}"
_CLOSE = r"[\s'\"`\\\])]{0,4}"
_SIGN = r"(?:=>|:{1,3}=|\?=|={1,3}|\|\||:|>|,)"
_OPEN = r"[\s'\"`\\=(\[]{0,6}(?:[rbuf@]{1,2}[\"'])?"
_AFTER = r"(?:[^\w+/=-]|$)"


def assigned(name: str, sort: str, words: str, value: str, floor: int = 2700) -> SecretRule:
    """Return the rule for a value that is assigned to a name holding one of the words (a pattern, in any case)."""
    return SecretRule(f"{name}.{sort}", f"(?i:{words}){_REST}{_CLOSE}{_SIGN}{_OPEN}({value}){_AFTER}", floor)


_HEX32, _HEX40, _HEX64 = (f"{HEX}{{{size}}}" for size in (32, 40, 64))


def _letters(size: str) -> str:
    return f"[A-Za-z0-9]{{{size}}}"


# provider, sort, words of the name, value
_TABLE = (
    ("adafruit", "key", "adafruit", r"[A-Za-z0-9_-]{32}"),
    ("adobe", "client_id", "adobe", _HEX32),
    ("airtable", "key", "airtable", _letters("17")),
    ("algolia", "key", "algolia", _letters("32")),
    ("alibaba", "secret", "alibaba|aliyun|alicloud", _letters("30")),
    ("asana", "client_id", "asana", r"[0-9]{16}"),
    ("asana", "secret", "asana", _letters("32")),
    ("asana", "token", "asana", rf"[12]/\d{{15,18}}(?:/\d{{15,18}})?:{HEX}{{32}}"),
    ("atlassian", "token", "atlassian|confluence|jira", _letters("24")),
    ("aws", "secret", r"aws|amazon|secret_?access_?key|secretkey", r"[A-Za-z0-9/+]{40}"),
    ("aws", "session", r"aws_?session_?token|x-amz-security-token", r"[A-Za-z0-9/+=]{100,}"),
    ("beamer", "token", "beamer", r"b_[A-Za-z0-9=_-]{44}"),
    ("bitbucket", "client_id", "bitbucket", _letters("32")),
    ("bitbucket", "secret", "bitbucket", r"[A-Za-z0-9=_-]{64}"),
    ("bittrex", "key", "bittrex", _letters("32")),
    ("box", "secret", r"box_?(?:client|api|dev)", _letters("32")),
    ("cisco", "meraki", "meraki", _HEX40),
    ("cloudflare", "token", "cloudflare", r"[A-Za-z0-9_-]{40}"),
    ("cloudflare", "global_key", "cloudflare", f"{HEX}{{37}}"),
    ("codecov", "token", "codecov", _letters("32")),
    ("codecov", "token", "codecov", UUID),
    ("cohere", "key", "cohere|co_api_key", _letters("40")),
    ("coinbase", "key", "coinbase", r"[A-Za-z0-9_-]{64}"),
    ("confluent", "key", "confluent", _letters("16")),
    ("confluent", "secret", "confluent", r"[A-Za-z0-9+/]{64}"),
    ("consul", "token", "consul", UUID),
    ("contentful", "token", "contentful", r"[A-Za-z0-9=_-]{43}"),
    ("circleci", "token", r"circle_?ci", _HEX40),
    ("datadog", "key", r"datadog|dd_?(?:api|app)", _letters("32")),
    ("datadog", "app_key", r"datadog|dd_?app", _letters("40")),
    ("deepgram", "key", "deepgram", _HEX40),
    ("digitalocean", "key", r"digital_?ocean|spaces_", r"[A-Za-z0-9/+]{43}"),
    ("discord", "token", "discord", _HEX64),
    ("discord", "client_id", "discord", r"[0-9]{17,19}"),
    ("discord", "secret", "discord", r"[A-Za-z0-9=_-]{32}"),
    ("droneci", "token", r"drone_?ci", _letters("32")),
    ("dropbox", "secret", "dropbox", _letters("15")),
    ("dropbox", "short", "dropbox", r"sl\.[A-Za-z0-9=_-]{130,160}"),
    ("elastic", "key", r"elastic", r"[A-Za-z0-9_-]{50,60}={0,2}"),
    ("elevenlabs", "key", r"eleven_?labs|xi-api-key", r"(?:sk_)?[a-f0-9]{32,48}"),
    ("etsy", "token", "etsy", _letters("24")),
    ("facebook", "secret", "facebook|fb_", _HEX32),
    ("fastly", "token", "fastly", r"[A-Za-z0-9=_-]{32}"),
    ("finicity", "secret", "finicity", _letters("20")),
    ("finicity", "token", "finicity", _HEX32),
    ("finnhub", "token", "finnhub", _letters("20")),
    ("flickr", "token", "flickr", _letters("32")),
    ("freshbooks", "token", "freshbooks", _letters("64")),
    ("github", "old_token", "github|gh_?token", _HEX40),
    ("gitter", "token", "gitter", r"[A-Za-z0-9_-]{40}"),
    ("gocardless", "token", "gocardless", r"(?:live|sandbox)_[A-Za-z0-9=_-]{40}"),
    ("hashicorp", "password", r"administrator_login_password|(?:db|admin|master)_?password",
     r"[A-Za-z0-9=_+!@#$%^&*-]{8,20}", 2200),
    ("heroku", "key", "heroku", UUID),
    ("hubspot", "key", "hubspot|hapikey", UUID),
    ("ibm", "iam_key", r"ibm|cloud_?iam", r"[A-Za-z0-9_-]{44}"),
    ("ibm", "cos_secret", r"cos|secret_?access_?key", f"{HEX}{{48}}"),
    ("ibm", "softlayer", r"softlayer|\bsl_(?:api|key|pass|pwd|token)", _letters("64")),
    ("ibm", "cloudant_key", r"cloudant\w*?(?:api|key|pass|pwd|pw|token)", r"[a-z]{24}"),
    ("ibm", "cloudant", r"cloudant|\bcl(?:ou)?_?(?:api|key|pass|pwd|pw|token)", _HEX64),
    ("intercom", "token", "intercom", r"[A-Za-z0-9=_-]{60}"),
    ("ionic", "token", "ionic", r"ion_[A-Za-z0-9]{42}"),
    ("jfrog", "key", "jfrog|artifactory|bintray|xray", _letters("73")),
    ("jfrog", "identity", "jfrog|artifactory|bintray|xray", _letters("64")),
    ("kraken", "token", "kraken", r"[A-Za-z0-9/=_+-]{80,90}"),
    ("kucoin", "token", "kucoin", f"{HEX}{{24}}"),
    ("kucoin", "secret", "kucoin", UUID),
    ("launchdarkly", "token", r"launch_?darkly", r"[A-Za-z0-9=_-]{40}"),
    ("linear", "secret", "linear", _HEX32),
    ("linkedin", "client_id", r"linked_?in", _letters("14")),
    ("linkedin", "secret", r"linked_?in", _letters("16")),
    ("linode", "token", "linode", _HEX64),
    ("lob", "key", r"\b_?lob", rf"(?:live|test)_{HEX}{{35}}"),
    ("lob", "public_key", r"\b_?lob", rf"(?:live|test)_pub_{HEX}{{31}}"),
    ("looker", "client_id", "looker", _letters("20")),
    ("looker", "secret", "looker", _letters("24")),
    ("mailchimp", "key", r"mail_?chimp", _HEX32),
    ("mailgun", "key", "mailgun", _HEX32),
    ("mailgun", "signing", "mailgun", r"[a-h0-9]{32}-[a-h0-9]{8}-[a-h0-9]{8}"),
    ("mattermost", "token", "mattermost", _letters("26")),
    ("messagebird", "token", r"message_?bird", _letters("25")),
    ("messagebird", "client_id", r"message_?bird", UUID),
    ("mistral", "key", "mistral", _letters("32")),
    ("netlify", "token", "netlify", r"[A-Za-z0-9=_-]{40,46}"),
    ("newrelic", "user_id", r"new-?_?relic", _letters("64")),
    ("newrelic", "key", r"new-?_?relic", r"(?:NRII-[A-Za-z0-9-]{32}|[a-f0-9]{40,47})"),
    ("ngrok", "token", "ngrok", r"[A-Za-z0-9_]{40,60}"),
    ("npm", "auth_token", r"_?auth_?token", UUID),
    ("nytimes", "token", r"nytimes|new-?york-?times|newyorktimes", r"[A-Za-z0-9=_-]{32}"),
    ("okta", "token", "okta", r"00[A-Za-z0-9=_-]{40}"),
    ("openai", "key", r"openai", r"sk-[A-Za-z0-9_-]{20,200}"),
    ("pagerduty", "key", r"pager_?duty|pd_?(?:api|key)", r"[A-Za-z0-9+_-]{20}"),
    ("pinecone", "key", "pinecone", UUID),
    ("plaid", "client_id", "plaid", _letters("24")),
    ("plaid", "secret", "plaid", _letters("30")),
    ("privateai", "token", r"private[^\w]?_?ai", _letters("32")),
    ("pusher", "key", "pusher", f"{HEX}{{20}}"),
    ("rapidapi", "token", r"rapid_?api", r"[A-Za-z0-9_-]{50}"),
    ("sendbird", "id", "sendbird", UUID),
    ("sendbird", "token", "sendbird", _HEX40),
    ("sendgrid", "key", "sendgrid", r"SG\.[A-Za-z0-9=_.-]{60,70}"),
    ("sentry", "token", "sentry", _HEX64),
    ("shopify", "key", "shopify", _HEX32),
    ("sidekiq", "key", r"bundle_enterprise__contribsys__com|bundle_gems__contribsys__com", rf"{HEX}{{8}}:{HEX}{{8}}"),
    ("snyk", "token", "snyk", UUID),
    ("sonar", "token", "sonar", r"(?:squ_|sqp_|sqa_)?[A-Za-z0-9=_-]{40}"),
    ("sourcegraph", "token", "sourcegraph", _HEX40),
    ("square", "token", r"square(?:up)?", r"[\w-]{60,64}"),
    ("squarespace", "token", "squarespace", UUID),
    ("sumologic", "id", r"sumo", r"su[A-Za-z0-9]{12}"),
    ("sumologic", "token", r"sumo", _letters("64")),
    ("telegram", "bot", r"telegr", r"[0-9]{5,16}:[\w-]{34,36}"),
    ("travis", "token", "travis", _letters("22")),
    ("trello", "token", "trello", r"[A-Za-z0-9-]{32}"),
    ("trello", "secret", "trello", _HEX64),
    ("twilio", "token", "twilio", _HEX32),
    ("twitch", "token", "twitch", _letters("30")),
    ("twitter", "key", "twitter", _letters("25")),
    ("twitter", "secret", "twitter", _letters("50")),
    ("twitter", "token", "twitter", r"[0-9]{15,25}-[A-Za-z0-9]{20,40}"),
    ("twitter", "token_secret", "twitter", _letters("45")),
    ("twitter", "bearer", "twitter", r"A{22}[A-Za-z0-9%]{80,100}"),
    ("typeform", "token", "typeform", r"tfp_[A-Za-z0-9=_.-]{59}"),
    ("vault", "token", r"vault", r"s\.[A-Za-z0-9]{24}"),
    ("vultr", "key", "vultr", r"[A-Z0-9]{36}"),
    ("wandb", "key", r"wandb|weights_?and_?biases", _HEX40),
    ("yandex", "key", "yandex", r"AQVN[A-Za-z0-9_-]{35,38}"),
    ("yandex", "secret", "yandex", r"YC[A-Za-z0-9_-]{38}"),
    ("yandex", "iam", "yandex", r"t1\.[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]{86}={0,2}"),
    ("zendesk", "secret", "zendesk", _letters("40")),
)  # fmt: skip

# Decimal client ids and key ids that are secrets only because their provider says so: less entropy is enough.
_LOWER = frozenset({("discord", "client_id"), ("asana", "client_id"), ("sidekiq", "key"), ("adobe", "client_id"),
                    ("pusher", "key"), ("confluent", "key"), ("linkedin", "client_id"), ("linkedin", "secret"),
                    ("dropbox", "secret"), ("finicity", "secret"), ("kucoin", "token")})  # fmt: skip

NAMED = tuple(
    assigned(*row) if len(row) == 5 else assigned(*row, 2000 if row[:2] in _LOWER else 2700) for row in _TABLE
)

# A name that speaks of a secret, without a provider. Such a value needs letters, digits and much entropy.
GENERIC = (
    assigned(
        "generic", "key",
        r"(?:api|access|auth|secret|private|client|session|encryption|signing|master|app|application|account|consumer|"
        r"service|admin|deploy|license|webhook|bearer|refresh|jwt|db|database|storage|security)[-_. ]?"
        r"(?:key|token|secret|password|passwd|pwd|credentials?|hash)|secret|token|passwd|password|credentials?|apikey",
        r"[A-Za-z0-9_+~][\w.+/~=-]{15,199}", 3300,
    ),
    # A password is shorter and may hold any sign, so it must stand in quotes. Eight characters have 3 bits at most.
    SecretRule(
        "generic.password",
        r"(?i)(?:password|passwd|passphrase|pwd)[\"'\])]{0,3}\s{0,3}(?::=|=>|=|:)"
        r"\s{0,3}[\"']([^\s\"'<>{}$]{8,64})[\"']", 2500,
    ),
)  # fmt: skip
