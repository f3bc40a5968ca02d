export const fleet = `
-- Until when a machine may live. Null: launched before there were leases.
ALTER TABLE instance ADD COLUMN lease_expires_at_ms INTEGER;
-- Also in the machine's tags, which can be read when this file is lost. No renewal goes beyond it.
ALTER TABLE instance ADD COLUMN lease_cap_at_ms INTEGER;
ALTER TABLE instance ADD COLUMN deployment_id TEXT;
-- What the plan said; the price above follows what the cloud bills.
ALTER TABLE instance ADD COLUMN planned_price_cents_per_hour INTEGER;
ALTER TABLE instance ADD COLUMN end_reason TEXT;

-- A model that is to be served. Its machine may be replaced; the row stays.
CREATE TABLE deployment (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  -- A place in a schedule's window, so that nobody fills it twice. Null: asked for by a person.
  slot TEXT UNIQUE,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'booting', 'starting', 'ready', 'draining', 'ending', 'ended')),
  state_since_ms INTEGER NOT NULL,
  reason TEXT,
  spec TEXT NOT NULL,
  intent_id TEXT,
  machines INTEGER NOT NULL,
  base_url TEXT,
  until_ms INTEGER,
  created_at_ms INTEGER NOT NULL,
  ready_at_ms INTEGER,
  busy_at_ms INTEGER,
  tokens_served INTEGER,
  failing_since_ms INTEGER
) STRICT;

-- A backend is named after it.
CREATE UNIQUE INDEX deployment_name ON deployment (name) WHERE state != 'ended';

-- A machine that is wanted as soon as there is capacity.
CREATE TABLE hunt (
  id TEXT PRIMARY KEY,
  deployment_id TEXT,
  -- Which machine of the deployment it is for: one hunt each.
  ordinal INTEGER,
  wish TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('hunting', 'launching', 'launched', 'gave_up', 'cancelled')),
  intent_id TEXT,
  until_ms INTEGER NOT NULL,
  tries INTEGER NOT NULL,
  next_try_at_ms INTEGER NOT NULL,
  problem TEXT,
  created_at_ms INTEGER NOT NULL,
  ended_at_ms INTEGER,
  UNIQUE (deployment_id, ordinal)
) STRICT;

-- What people are to be told, once each: written first, sent later, by whoever keeps the fleet.
CREATE TABLE notice (
  key TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  sent_at_ms INTEGER,
  tries INTEGER NOT NULL,
  next_try_at_ms INTEGER NOT NULL,
  problem TEXT
) STRICT;

-- Recovery and the sender look for unsent ones only.
CREATE INDEX notice_unsent ON notice (next_try_at_ms) WHERE sent_at_ms IS NULL;

-- The process that keeps the fleet: one row.
CREATE TABLE keeper (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  owner TEXT NOT NULL,
  command TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  beat_at_ms INTEGER NOT NULL,
  listed_at_ms INTEGER
) STRICT;
`;
