"""Asking people where they are: one process for one registered approver and one channel, a webhook or Slack.

    log ── requests that wait ──► desk.py ── questions ──► delivery.py ── webhook.py, slack.py ──► people
    log ◄── signed answers ── answering.py ◄── interactions.py ◄── a button, signed by Slack

`questions.py`, `showing.py`, `proofs.py`, `slack_messages.py` and `pressed.py` are pure. A channel only asks. An answer
that Slack passes on is signed by the approver's own key, for the digest that the call's event has on the log.
"""
