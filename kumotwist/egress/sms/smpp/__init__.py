"""The SMPP channel: text messages over binds to an SMSC."""
