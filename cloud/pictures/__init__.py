"""Pictures for people: the human decoder, and the service that makes one when somebody asks."""
