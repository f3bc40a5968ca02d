export const initial = `
CREATE TABLE attempt (
  id TEXT PRIMARY KEY,
  request_id TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  day TEXT NOT NULL,
  backend TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('serverless', 'dedicated')),
  model TEXT NOT NULL,
  priority TEXT NOT NULL,
  score REAL,
  owner TEXT NOT NULL,
  started_at_ms INTEGER NOT NULL,
  deadline_at_ms INTEGER NOT NULL,
  ended_at_ms INTEGER,
  status TEXT NOT NULL CHECK (status IN ('open', 'ok', 'error', 'cancelled', 'interrupted')),
  error_code TEXT,
  http_status INTEGER,
  finish_reason TEXT,
  input_tokens INTEGER,
  cached_input_tokens INTEGER,
  output_tokens INTEGER,
  reasoning_tokens INTEGER,
  usage_source TEXT CHECK (usage_source IN ('provider', 'estimate')),
  cost_nano_usd INTEGER,
  cost_source TEXT CHECK (cost_source IN ('provider', 'config', 'snapshot', 'instance_time')),
  input_price_nano_usd INTEGER,
  output_price_nano_usd INTEGER,
  price_as_of TEXT,
  reserved_nano_usd INTEGER NOT NULL,
  first_token_ms INTEGER,
  latency_ms INTEGER,
  elapsed_ms INTEGER
) STRICT;

-- Reports read a span of time.
CREATE INDEX attempt_started ON attempt (started_at_ms);
-- Recovery at every start looks for open rows only; there are never many.
CREATE INDEX attempt_open ON attempt (owner) WHERE status = 'open';

CREATE TABLE instance (
  intent_id TEXT PRIMARY KEY,
  instance_id TEXT UNIQUE,
  name TEXT NOT NULL,
  instance_type TEXT NOT NULL,
  region TEXT NOT NULL,
  price_cents_per_hour INTEGER NOT NULL,
  status TEXT NOT NULL,
  owner TEXT NOT NULL,
  requested_at_ms INTEGER NOT NULL,
  launched_at_ms INTEGER,
  first_active_at_ms INTEGER,
  terminate_requested_at_ms INTEGER,
  gone_at_ms INTEGER,
  last_seen_at_ms INTEGER,
  reserved_nano_usd INTEGER NOT NULL
) STRICT;

-- The budget asks for machines that lived in a period, with every reservation.
CREATE INDEX instance_requested ON instance (requested_at_ms);

CREATE TABLE budget_period (
  period TEXT PRIMARY KEY,
  settled_nano_usd INTEGER NOT NULL,
  reserved_nano_usd INTEGER NOT NULL
) STRICT;
`;
