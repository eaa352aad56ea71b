"""The fixed tokens that stand for masked values, by the verifier whose findings they stand for.

They are a list, and not a form: the word in a token would else be a text of the monitor's own, for the tool or for a
model behind it. Tool hosts and approvers compare with this list, and need no package of the detectors. A test holds the
list against all kinds that these can find.
"""

from __future__ import annotations

from collections.abc import Mapping

OPEN = "[masked:"
CATALOGUE = "catalogue"  # of every rule in a catalogue: its kind is an administrator's word

_PERSONAL_DATA = """
    ar_cuit au_abn au_acn au_medicare au_tfn bank_account be_number br_cnpj br_cpf ca_sin card ch_ahv cl_rut
    cn_number crypto date_of_birth de_identity_card de_patient de_pension de_tax_id dk_cpr driver_license email
    es_nie es_nif fi_code fr_nir health_number iban imei in_aadhaar in_gstin in_pan in_voter ip it_fiscal_code
    kr_brn kr_frn kr_rrn mac mx_curp nl_bsn no_number passport ph_tin phone pl_nip pl_pesel se_number sg_nric
    th_number tr_number tw_number uk_driver uk_nhs uk_nino us_dea us_itin us_mbi us_npi us_routing us_ssn
    vehicle_plate vin za_number
"""
_SECRETS = """
    adafruit adobe adyen age airtable algolia alibaba anthropic artifactory asana atlassian authress aws azure baidu
    beamer bitbucket bittrex box buildkite cerebras checkly circleci cisco clickhouse clojars cloudflare codecov
    cohere coinbase confluent connection consul contentful crates databricks datadog deepgram deepseek
    defined_networking digitalocean discord docker doppler droneci dropbox duffel dynatrace easypost elastic
    elevenlabs endorlabs etsy facebook fastly figma finicity finnhub firecrawl fireworks flickr flutterwave fly
    frameio freemius freshbooks gcp generic github gitlab gitter gocardless grafana groq harness hashicorp heroku
    honeycomb http hubspot huggingface ibm infracost intercom intra ionic jfrog jwt kraken kubernetes kucoin
    langchain launchdarkly linear linkedin linode lob looker mailchimp mailgun mapbox mattermost maxmind messagebird
    mistral netlify newrelic ngrok notion npm nuget nvidia nytimes octopus okta onepassword openai openrouter
    openshift pagerduty paypal paystack perplexity pinecone plaid planetscale posthog postman prefect private_key
    privateai pulumi pusher pypi rapidapi razorpay readme replicate resend rubygems scaleway scalingo sendbird
    sendgrid sendinblue sentry settlemint shippo shopify sidekiq slack snyk sonar sourcegraph square squarespace
    stripe sumologic supabase tailscale tavily teams telegram tencent terraform token_uri travis trello twilio
    twitch twitter typeform url vault vercel vultr wandb xai yandex zapier zendesk
"""


def written(name: str) -> str:
    """Return the token with a name."""
    return f"{OPEN}{name}]"


def _tokens(names: str) -> frozenset[str]:
    return frozenset(written(name) for name in (*names.split(), CATALOGUE))


TOKENS: Mapping[str, frozenset[str]] = {"personal_data": _tokens(_PERSONAL_DATA), "secrets": _tokens(_SECRETS)}
