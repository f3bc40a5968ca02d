export const calibration = `
-- In thousandths: the chance that a small, and that a large model would do, as the scorer saw it before any calibration.
ALTER TABLE attempt ADD COLUMN suffices_small INTEGER;
ALTER TABLE attempt ADD COLUMN suffices_large INTEGER;

-- Rows are added only: of several by one principal for one request, the last one counts. What was predicted is copied
-- into them, so that a calibration reads nothing else.
CREATE TABLE rating (
  id INTEGER PRIMARY KEY,
  request_id TEXT NOT NULL,
  principal_id TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  given TEXT NOT NULL,
  rating REAL NOT NULL CHECK (rating >= 0 AND rating <= 1),
  comment TEXT,
  scorer TEXT NOT NULL,
  backend TEXT NOT NULL,
  model TEXT NOT NULL,
  tier TEXT CHECK (tier IN ('small', 'medium', 'large')),
  score REAL,
  suffices_small INTEGER,
  suffices_large INTEGER
) STRICT;

-- Whether a request was rated before.
CREATE INDEX rating_request ON rating (request_id);

CREATE TABLE comparison (
  id INTEGER PRIMARY KEY,
  request_id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  cheap_backend TEXT NOT NULL,
  cheap_model TEXT NOT NULL,
  cheap_tier TEXT NOT NULL CHECK (cheap_tier IN ('small', 'medium', 'large')),
  strong_backend TEXT NOT NULL,
  strong_model TEXT NOT NULL,
  strong_tier TEXT NOT NULL CHECK (strong_tier IN ('small', 'medium', 'large')),
  agreement REAL NOT NULL CHECK (agreement >= 0 AND agreement <= 1),
  judged_by TEXT NOT NULL,
  cost_nano_usd INTEGER,
  scorer TEXT NOT NULL,
  score REAL NOT NULL,
  suffices_small INTEGER NOT NULL,
  suffices_large INTEGER NOT NULL
) STRICT;

-- The highest version is the one in use; going back adds a version too. There is no row for 0, which is as shipped.
CREATE TABLE calibration (
  version INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  source TEXT NOT NULL,
  scorer TEXT NOT NULL,
  correction TEXT NOT NULL,
  figures TEXT,
  last_rating_id INTEGER NOT NULL
) STRICT;
`;
