"""Who may do what: identities, certificates, logins, and the account of who looked."""
