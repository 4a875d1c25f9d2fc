"""Reports in the database: what the ledger says of a period, the reports that were made, and their deliveries."""
