"""Kafka as users' programs need it: records read and verified, events signed and sent, and the answers to them."""
