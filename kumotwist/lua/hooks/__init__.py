"""The events by who asks: SMTP intake, HTTP intake, the queue, the records. Each file implements one Protocol."""
