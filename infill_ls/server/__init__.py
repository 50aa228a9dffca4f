"""LSP, and nothing else: from messages to snapshots and from candidates to items."""
