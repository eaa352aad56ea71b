"""The identity bridge: keys of identity providers come in here, and logins become sessions."""
