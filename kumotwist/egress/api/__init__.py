"""What the channels over HTTP APIs share: sessions, credentials, judging replies. A provider adds what is its own."""
