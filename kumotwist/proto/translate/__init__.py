"""The text of a message made fit for handsets, notifications and chats."""
