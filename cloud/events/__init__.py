"""Events out: what appears and what is gone, to webhooks and MQTT."""
