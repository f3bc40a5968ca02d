export const groupCommit = `
-- A key that grows with time and that VACUUM keeps: chunks name rows by it.
-- OR and not IN: SQLite makes a table of a list of three or more for every row that is written, a third of its cost.
CREATE TABLE attempt_next (
  sequence INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  request_id TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  principal_id TEXT NOT NULL DEFAULT 'local',
  operation TEXT NOT NULL DEFAULT 'chat' CHECK (operation = 'chat' OR operation = 'completions' OR operation = 'embeddings'),
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
  status TEXT NOT NULL CHECK (
    status = 'ok' OR status = 'open' OR status = 'error' OR status = 'cancelled' OR status = 'interrupted'
  ),
  error_code TEXT,
  http_status INTEGER,
  finish_reason TEXT,
  input_tokens INTEGER,
  cached_input_tokens INTEGER,
  output_tokens INTEGER,
  reasoning_tokens INTEGER,
  usage_source TEXT CHECK (usage_source IN ('provider', 'estimate')),
  cost_nano_usd INTEGER,
  cost_source TEXT CHECK (
    cost_source = 'snapshot' OR cost_source = 'config' OR cost_source = 'provider' OR cost_source = 'instance_time'
  ),
  input_price_nano_usd INTEGER,
  output_price_nano_usd INTEGER,
  price_as_of TEXT,
  reserved_nano_usd INTEGER NOT NULL,
  first_token_ms INTEGER,
  latency_ms INTEGER,
  elapsed_ms INTEGER
) STRICT;

INSERT INTO attempt_next (
  id, request_id, ordinal, day, backend, kind, model, priority, score, owner, started_at_ms, deadline_at_ms,
  ended_at_ms, status, error_code, http_status, finish_reason, input_tokens, cached_input_tokens, output_tokens,
  reasoning_tokens, usage_source, cost_nano_usd, cost_source, input_price_nano_usd, output_price_nano_usd,
  price_as_of, reserved_nano_usd, first_token_ms, latency_ms, elapsed_ms
) SELECT
  id, request_id, ordinal, day, backend, kind, model, priority, score, owner, started_at_ms, deadline_at_ms,
  ended_at_ms, status, error_code, http_status, finish_reason, input_tokens, cached_input_tokens, output_tokens,
  reasoning_tokens, usage_source, cost_nano_usd, cost_source, input_price_nano_usd, output_price_nano_usd,
  price_as_of, reserved_nano_usd, first_token_ms, latency_ms, elapsed_ms
FROM attempt ORDER BY started_at_ms, rowid;

DROP TABLE attempt;
ALTER TABLE attempt_next RENAME TO attempt;

-- No index besides: each costs every row that is written. Spans of time are found by chunks, and open rows lie behind
-- the last of them.
-- What a run of settled rows adds up to, so that a report need not read them. Derived: it can be deleted and made again.
CREATE TABLE attempt_chunk (
  first_sequence INTEGER PRIMARY KEY,
  last_sequence INTEGER NOT NULL,
  first_started_at_ms INTEGER,
  last_started_at_ms INTEGER,
  cells TEXT NOT NULL,
  latencies BLOB NOT NULL,
  elapsed BLOB NOT NULL
) STRICT;

-- Of principals that have a budget of their own.
CREATE TABLE principal_period (
  principal_id TEXT NOT NULL,
  period TEXT NOT NULL,
  settled_nano_usd INTEGER NOT NULL,
  reserved_nano_usd INTEGER NOT NULL,
  PRIMARY KEY (principal_id, period)
) STRICT, WITHOUT ROWID;
`;
