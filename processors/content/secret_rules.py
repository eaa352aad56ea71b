"""Tokens that show their issuer: prefixes, signatures and checks that providers publish for their own credentials.

The first group of a pattern is the secret. Most providers chose a prefix so that scanners find a leaked token; the
formats are those of the providers' own documentation. `secret_names.py` covers the others.
"""

from __future__ import annotations

from typing import NamedTuple


class SecretRule(NamedTuple):
    """A pattern for one sort of secret.

    `name` is `provider.sort`; the kind of a hit is `secret.` and the provider. `floor` is the entropy, in thousandths
    of a bit for each character, below which a text is taken for an example.
    """

    name: str
    pattern: str
    floor: int = 2000


# A token begins at a word's edge, behind an escape of a string (`\n`), or behind a percent escape of a URL.
EDGE = r"(?:\b|\\[nrt]|%[0-9A-Fa-f]{2})"
# It ends where its alphabet ends.
END = r"(?:[^A-Za-z0-9_-]|$)"
HEX = "[0-9a-fA-F]"
UUID = f"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}"


def _token(name: str, body: str, floor: int = 2000) -> SecretRule:
    return SecretRule(name, f"{EDGE}({body}){END}", floor)


def _marked(name: str, body: str, floor: int = 2000) -> SecretRule:
    """Return the rule of a token whose first letters and sign no word ends with: a letter before it hides nothing."""
    return SecretRule(name, f"({body}){END}", floor)


# The first value of base64 in the data of a Kubernetes secret, after `data:`.
_DATA = r"[\s\S]*?\s[\w.-]+:[ \t]*(?:[|>][-+]?\s+)?[\"']?([A-Za-z0-9+/]{10,}={0,3})(?:[\"'\s]|$)"


_CLOUDS = (
    _marked("aws.key_id", r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}"),
    _marked("aws.mws", rf"amzn\.mws\.{UUID}"),
    _token("aws.appsync", r"da2-[a-z0-9]{26}"),
    SecretRule("aws.bedrock", rf"{EDGE}(ABSK[A-Za-z0-9+/]{{100,280}}={{0,2}})"),
    SecretRule("aws.bedrock", rf"{EDGE}(bedrock-api-key-YmVkcm9jay[A-Za-z0-9+/=_-]{{8,}})"),
    _marked("gcp.api_key", r"AIza[\w-]{35}"),
    _marked("gcp.oauth_secret", r"GOCSPX-[\w-]{28}"),
    _token("gcp.oauth_token", r"ya29\.[\w-]{20,}"),
    _token("gcp.refresh_token", r"1//0[\w-]{40,120}"),
    SecretRule("azure.client_secret", r"(?:^|[^\w.~-])([\w.~]{3}[0-9]Q~[\w.~-]{31,34})(?:[^\w.~-]|$)"),
    SecretRule("azure.account_key", r"(?i)(?:account|sharedaccess|access)key\s*=\s*([A-Za-z0-9+/]{42,86}={1,2})"),
    SecretRule("azure.sas", r"[?&]sig=([A-Za-z0-9%/+]{42,70}(?:%3[Dd]|=))"),
    _token("azure.devops", r"[A-Za-z0-9]{52}JQQJ9[9D][A-Za-z0-9]{25}"),
    _token("azure.devops", r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}"),
    SecretRule("azure.identifiable", r"\b([A-Za-z0-9+/]{33,76}(?:APIM|ACDb|AIoT|\+ASt|\+ARm|AzFu|AzSe|AzCa|\+AEh)"
               r"[A-Za-z0-9+/]{5,10}={0,2})"),
    _token("alibaba.key_id", r"LTAI[A-Za-z0-9]{12,24}"),
    _token("tencent.key_id", r"AKID[A-Za-z0-9]{32}"),
    _token("baidu.key", r"bce-v3/ALTAK-[A-Za-z0-9]{21}/[0-9a-f]{40}"),
    _marked("digitalocean.token", r"do[opr]_v1_[a-f0-9]{64}"),
    _token("cloudflare.origin_ca", r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"),
    _token("cloudflare.token", r"cf(?:ut|at|k|pat)_[A-Za-z0-9]{40,}"),
    _token("heroku.key", r"HRKU-AA[\w-]{58}"),
    _token("ibm.crn_key", r"ApiKey-[0-9a-f]{8}-[\w-]{27}"),
    _token("yandex.api_key", r"AQVN[\w-]{35,38}"),
    SecretRule("yandex.iam", rf"{EDGE}(t1\.[A-Z0-9a-z_-]+={{0,2}}\.[\w-]{{86}}={{0,2}})"),
    _token("scaleway.key_id", r"SCW[A-Z0-9]{17}"),
    _marked("planetscale.token", r"pscale_(?:pw|tkn|oauth)_[\w.=-]{32,64}"),
    _marked("databricks.token", r"(?:dapi|dose|dkea|dsapi)[a-f0-9]{32}(?:-\d)?"),
    _token("clickhouse.key", r"4b1d[A-Za-z0-9]{38}", 3000),
    _marked("supabase.token", r"sbp_[a-f0-9]{40}"),
    _marked("supabase.secret", r"sb_secret_[\w-]{20,}"),
    _token("fly.token", r"fo1_[\w-]{43}"),
    SecretRule("fly.machine", rf"{EDGE}((?:fm1a|fm1r|fm2)_[A-Za-z0-9+/]{{100,}}={{0,3}})"),
    _token("vercel.token", r"vc[aikpr]_[A-Za-z0-9_-]{24,}"),
    _token("netlify.token", r"nf[pcob]_[A-Za-z0-9_-]{36,40}"),
    _token("openshift.token", r"sha256~[\w-]{43}"),
    _token("scalingo.token", r"tk-us-[\w-]{48}"),
    _token("defined_networking.token", r"dnkey-[a-z0-9=_-]{26}-[a-z0-9=_-]{52}"),
    _token("tailscale.key", r"tskey-[a-z]+-[A-Za-z0-9]+-[A-Za-z0-9]{16,}"),
)  # fmt: skip

_CODE = (
    _marked("github.token", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    _marked("github.fine_grained", r"github_pat_\w{60,100}"),
    _marked("gitlab.token", r"gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|oas|soat|ffct|agent|wt|cst|tt|sat)-[\w.-]{18,}"),
    _marked("gitlab.runner", r"GR1348941[\w-]{20,50}"),
    SecretRule("gitlab.session", r"_gitlab_session=([0-9a-z]{32})"),
    _marked("bitbucket.app_password", r"ATBB[A-Za-z0-9]{32}"),
    _marked("npm.token", r"npm_[A-Za-z0-9]{36}"),
    _marked("pypi.token", r"pypi-AgE[\w-]{50,}"),
    _marked("rubygems.key", r"rubygems_[a-f0-9]{48}"),
    _token("nuget.key", r"oy2[a-z0-9]{43}", 3000),
    SecretRule("nuget.password", r'(?i)key="(?:cleartext)?password"\s{0,9}value="([^"]{6,120})"', 1500),
    _marked("clojars.token", r"(?i:clojars)_[A-Za-z0-9]{60}"),
    _token("crates.token", r"cio[A-Za-z0-9]{32}", 3500),
    _marked("docker.token", r"dckr_[a-z]{3,4}_[\w-]{27,40}"),
    _token("artifactory.key", r"AKCp[A-Za-z0-9]{60,80}"),
    _token("artifactory.reference", r"cmVmdGtu[A-Za-z0-9]{56}"),
    _marked("terraform.token", r"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,70}"),
    _marked("vault.service", r"hvs\.[\w-]{24,}"),
    _token("vault.batch", r"hv[br]\.[\w-]{40,}"),
    _token("pulumi.token", r"pul-[a-f0-9]{40}"),
    _marked("doppler.token", r"dp\.(?:pt|ct|st|sa|scim|audit)\.(?:[\w-]{2,35}\.)?[A-Za-z0-9]{40,44}"),
    _token("infracost.key", r"ico-[A-Za-z0-9]{32}"),
    _token("prefect.key", r"pn[ub]_[A-Za-z0-9]{36}"),
    _token("harness.key", r"(?:pat|sat)\.[\w-]{22}\.[0-9a-fA-F]{24}\.[A-Za-z0-9]{20}"),
    _token("circleci.token", r"CCI(?:PAT|PRJ)_[A-Za-z0-9]{22}_[a-f0-9]{40}"),
    _token("buildkite.token", r"bkua_[a-f0-9]{40}"),
    _token("octopus.key", r"API-[A-Z0-9]{25,31}", 3000),
    _token("sonar.token", r"sq[puab]_[a-f0-9]{40}"),
    _marked("sourcegraph.token", r"(?:sgp_(?:[a-fA-F0-9]{16}_|local_)?[a-fA-F0-9]{40}|slk_[a-f0-9]{64})"),
    _token("snyk.token", r"snyk_(?:uat|sat)\.[a-z0-9]{8}\.[\w.-]{40,}"),
    _token("postman.key", r"PMA[KT]-[a-f0-9]{24}-[a-f0-9]{34}"),
    _token("postman.collection", r"PMAT-[0-9A-Z]{26}"),
    _token("readme.key", r"rdme_[a-z0-9]{70}"),
    _token("onepassword.service", r"ops_eyJ[A-Za-z0-9+/=_-]{180,}"),
    _token("onepassword.secret_key",
           r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}"),
    _token("endorlabs.key", r"endr\+[A-Za-z0-9-]{16}"),
    SecretRule("ibm.softlayer_url", r"api\.softlayer\.com/soap/v3(?:\.1)?/([a-z0-9]{64})"),
    _marked("age.key", r"AGE-SECRET-KEY-(?:PQ-)?1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58,}"),
    _marked("atlassian.token", r"AT(?:ATT|CTT|STT)3[\w=.-]{60,}"),
    _marked("linear.key", r"lin_(?:api|oauth|wh)_[A-Za-z0-9]{40,64}"),
    _token("sidekiq.url", r"[0-9a-f]{8}:[0-9a-f]{8}@(?:gems|enterprise)\.contribsys\.com"),
    SecretRule("sidekiq.key", r"BUNDLE_(?:ENTERPRISE|GEMS)__CONTRIBSYS__COM[\"'\s:=]{1,5}([0-9a-f]{8}:[0-9a-f]{8})"),
    SecretRule("kubernetes.secret", rf"(?i)\bkind:\s*[\"']?secret\b[\s\S]*?\bdata:{_DATA}"),
    SecretRule("kubernetes.secret", rf"(?i)\bdata:{_DATA}[\s\S]*?\bkind:\s*[\"']?secret\b"),
)  # fmt: skip

_MODELS = (
    _marked("anthropic.key", r"sk-ant-[a-z]+\d{2}-[\w-]{40,}"),
    _marked("openai.key", r"sk-(?:proj|svcacct|admin|service|None)-[\w-]{40,}"),
    _marked("openai.key", r"sk-(?:[\w-]{0,80})[A-Za-z0-9]{20}T3BlbkFJ[\w-]{20,}"),
    _marked("openrouter.key", r"sk-or-v1-[a-f0-9]{64}"),
    _token("deepseek.key", r"sk-[a-f0-9]{32}"),
    _marked("huggingface.token", r"hf_[A-Za-z0-9]{34,}"),
    _token("huggingface.organisation", r"api_org_[A-Za-z0-9]{34}"),
    _marked("groq.key", r"gsk_[A-Za-z0-9]{48,}"),
    _marked("perplexity.key", r"pplx-[A-Za-z0-9]{40,}"),
    _marked("replicate.token", r"r8_[A-Za-z0-9]{37}"),
    _marked("xai.key", r"xai-[A-Za-z0-9]{70,}"),
    _marked("nvidia.key", r"nvapi-[\w-]{60,}"),
    _marked("langchain.key", r"lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}"),
    _marked("pinecone.key", r"pcsk_[A-Za-z0-9_]{50,}"),
    _marked("tavily.key", r"tvly-(?:dev-|prod-)?[A-Za-z0-9_-]{32,}"),
    _token("firecrawl.key", r"fc-[a-f0-9]{32}"),
    _token("fireworks.key", r"fw_[A-Za-z0-9]{22,24}", 3500),
    _token("cerebras.key", r"csk-[a-z0-9]{48}"),
    _marked("wandb.key", r"wandb_v1_[\w-]{60,}"),
)

_MESSAGES = (
    SecretRule("slack.token", rf"(xox[a-z](?:[.]xox[bp])?-[A-Za-z0-9-]{{14,250}}){END}"),
    SecretRule("slack.app", rf"((?i:xapp)-\d-[A-Za-z0-9]+-\d+-[A-Za-z0-9]+){END}"),
    SecretRule("slack.webhook",
               r"(hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9_+/-]{20,90})"),
    _token("discord.bot", r"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,38}"),
    SecretRule("discord.webhook", r"(discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,72})"),
    _token("telegram.bot", r"\d{8,10}:AA[\w-]{33}"),
    SecretRule("telegram.bot", r"(?i)(?:api\.telegram\.org/bot|tele?gr\w{0,9}.{0,30}?)(\d{5,16}:[\w-]{34,36})\b"),
    SecretRule("teams.webhook", rf"(webhook\.office\.com/webhookb2/{UUID}@{UUID}/IncomingWebhook/\w{{32}}/{UUID})"),
    SecretRule("zapier.webhook", r"(hooks\.zapier\.com/hooks/catch/\d{4,12}/\w{5,12})"),
    _marked("sendgrid.key", r"SG\.[\w-]{16,32}\.[\w-]{16,64}"),
    _token("sendinblue.key", r"x(?:key|smtp)sib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    _token("mailchimp.key", r"[a-f0-9]{32}-us\d{1,2}"),
    _token("mailgun.key", r"(?:pub)?key-[a-f0-9]{32}"),
    _token("resend.key", r"re_[A-Za-z0-9]{6,10}_[A-Za-z0-9]{22,26}"),
    _token("hubspot.token", rf"pat-(?:na|eu|ap)\d-{UUID}"),
    _token("typeform.token", r"tfp_[\w.=-]{59,}"),
    _marked("notion.token", r"ntn_[A-Za-z0-9]{43,50}"),
    _marked("notion.token", r"secret_[A-Za-z0-9]{43}"),
    _token("airtable.token", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    _marked("figma.token", r"fig(?:d|o|u|dr|or|ur)_[\w-]{40,}"),
    _token("frameio.token", r"fio-u-[\w=-]{64}"),
    _marked("contentful.token", r"CFPAT-[\w-]{43}"),
    _token("mapbox.token", r"(?:sk|pk|tk)\.(?:eyJ[\w-]{20,200}|[a-z0-9]{60})\.[\w-]{22}"),
    _token("maxmind.key", r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"),
    _token("intra42.secret", r"s-s4t2(?:ud|af)-[a-f0-9]{64}"),
    _token("facebook.page", r"EAA[A-Z][A-Za-z0-9]{20,}", 3500),
    SecretRule("facebook.token", r"\b(\d{15,16}(?:\||%7[Cc])[\w-]{27,40})"),
    SecretRule("twitter.bearer", rf"{EDGE}(A{{20,22}}[\w%]{{80,100}})"),
    _token("dropbox.short", r"sl\.(?:u\.)?[\w=-]{120,}"),
    _token("dropbox.long", r"[a-z0-9]{11}A{10}[a-z0-9_=-]{43}"),
)  # fmt: skip

_MONEY_AND_WATCH = (
    _marked("stripe.key", r"(?:sk|rk)_(?:test|live|prod)_[A-Za-z0-9]{10,200}"),
    _marked("stripe.webhook", r"whsec_[A-Za-z0-9+/]{32,}={0,2}"),
    _token("square.token", r"(?:EAAA[\w-]{60}|sq0[a-z]{3}-[\w-]{22,43})"),
    _token("paypal.braintree", r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}"),
    _marked("shopify.token", r"shp(?:at|ca|pa|ss|tka)_[a-fA-F0-9]{32}"),
    _marked("shippo.token", r"shippo_(?:live|test)_[a-fA-F0-9]{40}"),
    _token("plaid.token", rf"access-(?:sandbox|development|production)-{UUID}"),
    _token("flutterwave.key", r"FLW(?:SEC|PUB)K(?:_TEST)?-[A-Za-z0-9]{12,32}(?:-X)?"),
    _token("paystack.key", r"(?:sk|pk)_(?:test|live)_[a-f0-9]{40}"),
    _marked("razorpay.key", r"rzp_(?:live|test)_[A-Za-z0-9]{14}"),
    _token("easypost.key", r"EZ[AT]K[A-Za-z0-9]{54}"),
    _marked("duffel.token", r"duffel_(?:test|live)_[\w=-]{43}"),
    SecretRule("freemius.key", r"(?i)[\"']secret_key[\"']\s{0,9}=>\s{0,9}[\"'](sk_\S{29})[\"']"),
    _token("adobe.secret", r"p8e-[a-zA-Z0-9]{32}"),
    _token("adyen.key", r"AQE[A-Za-z0-9]{6,}[\w+/=.-]{60,}"),
    _token("checkly.key", r"cu_[a-f0-9]{32}"),
    _token("authress.key", r"(?:sc|ext|scauth|authress)_[a-zA-Z0-9]{5,30}\.[a-zA-Z0-9]{4,6}\.(?:acc)[_-]"
           r"[a-zA-Z0-9-]{10,32}\.[\w+/=-]{30,120}"),
    _token("settlemint.token", r"sm_(?:aat|pat|sat)_[A-Za-z0-9]{16}"),
    _token("datadog.key", r"dd(?:api|app|pat|sat)_[A-Za-z0-9]{32,}"),
    _marked("newrelic.key", r"NR(?:AK|JS|II|RA|IQ|AA|SP|BR)-[A-Za-z0-9-]{19,42}"),
    _token("newrelic.license", r"[a-f0-9]{36}(?:NRAL|FFFFNRAL)"),
    SecretRule("grafana.cloud", r"(glc_[A-Za-z0-9+/]{32,400}={0,3})", 3000),
    _marked("grafana.service", r"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    SecretRule("grafana.key", rf"{EDGE}(eyJrIjoi[A-Za-z0-9+/]{{60,400}}={{0,3}})"),
    _marked("sentry.user", r"sntryu_[a-f0-9]{64}"),
    SecretRule("sentry.organisation", r"(sntrys_eyJ[A-Za-z0-9+/=_-]{60,})"),
    _marked("dynatrace.token", r"dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _marked("posthog.key", r"ph[cx]_[A-Za-z0-9]{40,}"),
    _marked("honeycomb.key", r"hc[a-z](?:ik|mk|lk)_[A-Za-z0-9]{58}"),
    _token("launchdarkly.key", rf"(?:api|sdk|mob)-{UUID}"),
    _token("okta.sws", r"(?i:ssws)\s+00[\w-]{40}"),
    _token("token_uri.rfc8959", r"secret-token:[\w.~:/-]{16,}"),
)  # fmt: skip

_KEYS = (
    # RFC 7468 and its relatives: to the last line, and where that is missing, as far as lines of base64 go.
    SecretRule(
        "private_key.block",
        r"(?i)(-{2,5} ?BEGIN[ A-Z0-9_-]{0,60}PRIVATE KEY(?: BLOCK)?[ -]{0,6}"
        r"(?:[\s\S]*?-{5}END[ A-Z0-9_-]{0,60}PRIVATE KEY(?: BLOCK)?-{0,5}|[A-Za-z0-9+/=\s\\]*))",
        0,
    ),
    SecretRule("private_key.putty", r"(PuTTY-User-Key-File-[23][^\n]*(?:\n[A-Za-z0-9+/=: .-]+)*)", 0),
    SecretRule("private_key.pkcs8", rf"{EDGE}(MII[BCEJ][A-Za-z0-9+/\\\s]{{1,3}}[A-Za-z0-9+/\\n]{{300,}}={{0,2}})"),
    # RFC 7519 and RFC 7515 3.1: a JSON object in base64url begins with `eyJ` or, with a blank, `ewog`.
    SecretRule("jwt.token", rf"{EDGE}(e[yw][\w-]{{15,}}\.e[yw][\w/+-]{{15,}}\.(?:[\w/+-]{{10,}}={{0,2}})?)"),
    SecretRule("jwt.base64", rf"{EDGE}(ZXlK[A-Za-z0-9+/_-]{{40,}}={{0,2}})"),
    # RFC 3986 3.2.1: user information of a URL.
    SecretRule("url.password",
               r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/?#\[\]@!$&'()*+,;=\"<>]{0,80}:"
               r"([^\s/?#@\"'<>]{3,90})@[\w.-]", 1500),
    SecretRule("http.authorization",
               r"(?i)\b(?:proxy-)?authorization[\"']?\s{0,3}[:=,]\s{0,3}[\"']?"
               r"(?:bearer|basic|token|apikey|api-key|digest)\s{1,3}([\w.~+/:=-]{10,})", 2700),
    SecretRule("http.header",
               r"(?i)-(?:h|-header)[ =]{0,3}\\?[\"'][\w-]*(?:key|token|secret|auth|password)[\w-]*:"
               r"\s{0,3}(?:[a-z]{3,10}\s)?([\w.~+/:=@-]{10,})\\?[\"']", 2700),
    SecretRule("http.user", r"(?i)\bcurl\b(?:[^\n|]|\\\n)*?\s(?:-u|--user)[ =]{0,3}\\?[\"']?"
               r"([^\s:\"'$<>{]{2,60}:[^\s\"'$<>{]{3,90})", 2200),
    SecretRule("connection.password",
               r"(?i)\b(?:server|data source|host|address|user id|uid|database|initial catalog)\s{0,2}=[^\n\"']+?;"
               r"\s{0,3}(?:password|pwd)\s{0,2}=\s{0,2}([^;\s\"'<>{$]{4,90})", 1500),
)  # fmt: skip

ISSUED = (*_CLOUDS, *_CODE, *_MODELS, *_MESSAGES, *_MONEY_AND_WATCH, *_KEYS)
