export const tokensAndAudit = `
CREATE TABLE token (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  secret_hash TEXT NOT NULL UNIQUE,
  scopes TEXT NOT NULL,
  budget_limit_nano_usd INTEGER CHECK (budget_limit_nano_usd >= 0),
  budget_per TEXT CHECK (budget_per IN ('day', 'month')),
  requests_per_minute INTEGER CHECK (requests_per_minute > 0),
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER,
  revoked_at_ms INTEGER,
  last_used_at_ms INTEGER,
  CHECK ((budget_limit_nano_usd IS NULL) = (budget_per IS NULL))
) STRICT;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  principal_id TEXT NOT NULL,
  principal_name TEXT NOT NULL,
  action TEXT NOT NULL,
  effect TEXT NOT NULL CHECK (effect IN ('spend', 'destroy')),
  subject TEXT NOT NULL,
  plan TEXT,
  confirmed_by TEXT NOT NULL CHECK (confirmed_by IN ('elicitation', 'confirm_token', 'none')),
  outcome TEXT NOT NULL,
  result TEXT,
  closed_at_ms INTEGER
) STRICT;

-- A row is closed once; after that nobody changes it, and nobody takes one away.
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
BEGIN
  SELECT RAISE(ABORT, 'audit rows are never deleted');
END;

CREATE TRIGGER audit_is_closed_once BEFORE UPDATE ON audit
WHEN OLD.closed_at_ms IS NOT NULL
  OR NEW.id <> OLD.id
  OR NEW.at_ms <> OLD.at_ms
  OR NEW.principal_id <> OLD.principal_id
  OR NEW.principal_name <> OLD.principal_name
  OR NEW.action <> OLD.action
  OR NEW.effect <> OLD.effect
  OR NEW.subject <> OLD.subject
BEGIN
  SELECT RAISE(ABORT, 'audit rows are closed once and never rewritten');
END;
`;
