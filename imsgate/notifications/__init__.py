"""Notifications: Glance's events, sent over a message bus or to webhooks from the outbox."""
