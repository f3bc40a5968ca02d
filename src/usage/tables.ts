import type { Generated } from 'kysely';

/** The ledger's tables as the code sees them. Times are epoch milliseconds, money is nano-dollars, null is unknown. */
export interface Tables {
  attempt: WithDefaults<AttemptTable, 'sequence' | 'principal_id' | 'operation' | 'suffices_small' | 'suffices_large'>;
  instance: InstanceTable;
  deployment: DeploymentTable;
  hunt: HuntTable;
  notice: NoticeTable;
  keeper: KeeperTable;
  budget_period: BudgetPeriodTable;
  principal_period: PrincipalPeriodTable;
  attempt_chunk: AttemptChunkTable;
  token: TokenTable;
  audit: AuditTable;
  rating: RatingTable;
  comparison: ComparisonTable;
  calibration: CalibrationTable;
}

/** Columns that a new row may leave to the database. */
type WithDefaults<Table, Column extends keyof Table> = Omit<Table, Column> & {
  [Name in Column]: Generated<Table[Name]>;
};

export const attemptStatuses = ['open', 'ok', 'error', 'cancelled', 'interrupted'] as const;
export type AttemptStatus = (typeof attemptStatuses)[number];

/** What was asked of the backend. */
export type Operation = 'chat' | 'completions' | 'embeddings';

/** Where a cost comes from, best first. `instance_time`: the GPU's minutes are counted instead. */
export type CostSource = 'provider' | 'config' | 'snapshot' | 'instance_time';

/** One upstream call: written before it is made, settled after. */
export interface AttemptTable {
  /** Grows with every row, and no row ever gets another. */
  sequence: number;
  id: string;
  request_id: string;
  /** 1 for the first attempt of a request; counting these counts requests. */
  ordinal: number;
  principal_id: string;
  operation: Operation;
  /** The budget day it belongs to, `YYYY-MM-DD` in the budget's time zone. */
  day: string;
  backend: string;
  kind: 'serverless' | 'dedicated';
  model: string;
  priority: string;
  score: number | null;
  /** `host:pid` of the process that made the call. */
  owner: string;
  started_at_ms: number;
  /** The call is over by then whatever happens; an open row past it belongs to nobody. */
  deadline_at_ms: number;
  ended_at_ms: number | null;
  status: AttemptStatus;
  error_code: string | null;
  http_status: number | null;
  finish_reason: string | null;
  input_tokens: number | null;
  cached_input_tokens: number | null;
  output_tokens: number | null;
  reasoning_tokens: number | null;
  usage_source: 'provider' | 'estimate' | null;
  cost_nano_usd: number | null;
  cost_source: CostSource | null;
  /** Nano-dollars per million tokens, as used; with `price_as_of` it says how the cost came about. */
  input_price_nano_usd: number | null;
  output_price_nano_usd: number | null;
  price_as_of: string | null;
  reserved_nano_usd: number;
  first_token_ms: number | null;
  /** This attempt alone. */
  latency_ms: number | null;
  /** Since the request began: what the person waited, failed attempts included. */
  elapsed_ms: number | null;
  /** What the scorer expected of a small and of a large model before any calibration, in thousandths. */
  suffices_small: number | null;
  suffices_large: number | null;
}

/**
 * `intent`: written before the launch, nothing sent or no answer yet. `unconfirmed`: the answer was lost.
 * `not_launched`: certainly not launched. The rest are Lambda's own words (open set), and `gone`: no longer listed.
 */
export type InstanceStatus = 'intent' | 'unconfirmed' | 'not_launched' | 'gone' | (string & {});

export interface InstanceTable {
  /** Ours, made before the launch and put into the machine's tags. */
  intent_id: string;
  /** Lambda's; null until the launch is confirmed. */
  instance_id: string | null;
  name: string;
  instance_type: string;
  region: string;
  price_cents_per_hour: number;
  status: InstanceStatus;
  owner: string;
  requested_at_ms: number;
  launched_at_ms: number | null;
  first_active_at_ms: number | null;
  terminate_requested_at_ms: number | null;
  gone_at_ms: number | null;
  last_seen_at_ms: number | null;
  reserved_nano_usd: number;
  /** Null: launched before there were leases. */
  lease_expires_at_ms: number | null;
  /** Also in the machine's tags. No renewal goes beyond it. */
  lease_cap_at_ms: number | null;
  deployment_id: string | null;
  /** What the plan said; `price_cents_per_hour` follows what the cloud bills. Null: taken in while it ran. */
  planned_price_cents_per_hour: number | null;
  /** Why Tandem ended it; null while it lives, or when somebody else did. */
  end_reason: EndReason | null;
}

/** Why a machine, or a deployment, was ended. */
export type EndReason = 'asked' | 'lease' | 'idle' | 'window' | 'bad_machine' | 'gone' | 'orphan' | 'no_capacity';

/**
 * `waiting`: for a machine. `booting`: the machine. `starting`: the model server. `ready`: answers, and is a backend.
 * `draining`: gets no new requests. `ending`: its machine is being terminated. `ended`: for good.
 */
export type DeploymentState = 'waiting' | 'booting' | 'starting' | 'ready' | 'draining' | 'ending' | 'ended';

/** A model that is to be served. Its machine may be replaced; the row stays. */
export interface DeploymentTable {
  id: string;
  /** The backend's id. Unique among those that have not ended. */
  name: string;
  /** A place in a schedule's window, so that nobody fills it twice; null: asked for by a person. */
  slot: string | null;
  state: DeploymentState;
  state_since_ms: number;
  /** Why it drains, or ended. */
  reason: EndReason | null;
  /** JSON: `DeploymentSpec`. */
  spec: string;
  /** Of its machine now; null while it has none. */
  intent_id: string | null;
  /** How many machines were asked for so far. */
  machines: number;
  /** Where the model server is reached from this computer; null while it is not. */
  base_url: string | null;
  /** It drains then; null: its lease decides. */
  until_ms: number | null;
  created_at_ms: number;
  ready_at_ms: number | null;
  /** When it was last seen at work. */
  busy_at_ms: number | null;
  /** What its counters of tokens stood at then. */
  tokens_served: number | null;
  /** Since when it does not answer; null: it does. */
  failing_since_ms: number | null;
}

export type HuntState = 'hunting' | 'launching' | 'launched' | 'gave_up' | 'cancelled';

/** A machine that is wanted as soon as there is capacity. */
export interface HuntTable {
  id: string;
  /** Whose machine it is to be, and which one of those; null: a machine of its own. */
  deployment_id: string | null;
  ordinal: number | null;
  /** JSON: `HuntWish`. */
  wish: string;
  state: HuntState;
  /** Of the launch under way, or of the machine that came of it. */
  intent_id: string | null;
  until_ms: number;
  /** Launches that were refused. */
  tries: number;
  next_try_at_ms: number;
  /** Why there is no machine yet, in words. */
  problem: string | null;
  created_at_ms: number;
  ended_at_ms: number | null;
}

/** What people are to be told, once each. */
export interface NoticeTable {
  /** What it is about, so that two processes do not tell it twice. */
  key: string;
  kind: string;
  text: string;
  at_ms: number;
  sent_at_ms: number | null;
  tries: number;
  next_try_at_ms: number;
  problem: string | null;
}

/** The process that keeps the fleet: one row. */
export interface KeeperTable {
  id: number;
  /** `host:pid`. */
  owner: string;
  /** `watch`, `serve`, `stdio`. */
  command: string;
  since_ms: number;
  beat_at_ms: number;
  /** When it last read the account's list of machines. */
  listed_at_ms: number | null;
}

/** What tokens have cost, and may yet cost, per day (`YYYY-MM-DD`) and month (`YYYY-MM`) of the budget. */
export interface BudgetPeriodTable {
  period: string;
  settled_nano_usd: number;
  reserved_nano_usd: number;
}

/** The same for one principal alone. */
export interface PrincipalPeriodTable extends BudgetPeriodTable {
  principal_id: string;
}

/** Sums over the settled rows `first_sequence` to `last_sequence`, both included. See `chunks.ts`. */
export interface AttemptChunkTable {
  first_sequence: number;
  last_sequence: number;
  /** The earliest and the latest of its rows; null when it has none. */
  first_started_at_ms: number | null;
  last_started_at_ms: number | null;
  /** JSON: one array per day, backend, kind, model and principal. */
  cells: string;
  /** 64-bit floats, little-endian: of the answered attempts, in the order of the cells. */
  latencies: Uint8Array | ArrayBuffer;
  elapsed: Uint8Array | ArrayBuffer;
}

/** Who may come in over the network. The secret itself is nowhere. */
export interface TokenTable {
  /** `tok_...` */
  id: string;
  /** Unique among those that are neither revoked nor expired. */
  name: string;
  /** SHA-256 of the secret, in hex. */
  secret_hash: string;
  /** Separated by spaces, as OAuth writes them. */
  scopes: string;
  budget_limit_nano_usd: number | null;
  budget_per: 'day' | 'month' | null;
  requests_per_minute: number | null;
  created_at_ms: number;
  /** Null: never. */
  expires_at_ms: number | null;
  revoked_at_ms: number | null;
  /** To the minute. */
  last_used_at_ms: number | null;
}

export type ConfirmedBy = 'elicitation' | 'confirm_token' | 'none';

/** `planned`: only a plan was made. `begun`: under way, or the process ended before it could say more. */
export type AuditOutcome = 'begun' | 'done' | 'planned' | 'declined' | `failed:${string}`;

/** One row per call that may spend or destroy: written before the act, closed after it, then never changed. */
export interface AuditTable {
  id: Generated<number>;
  at_ms: number;
  principal_id: string;
  principal_name: string;
  /** A tool's name or a route. */
  action: string;
  effect: 'spend' | 'destroy';
  /** JSON: what it was to be done to. No prompts, no scripts, no secrets. */
  subject: string;
  /** JSON: the plan that the yes was given for. */
  plan: string | null;
  confirmed_by: ConfirmedBy;
  outcome: AuditOutcome;
  /** JSON: ids and cost. */
  result: string | null;
  closed_at_ms: number | null;
}

/** How much model a model is: the word that the configuration uses. */
export type ModelTier = 'small' | 'medium' | 'large';

/** What somebody said of an answer. Of several rows by one principal for one request the last one counts. */
export interface RatingTable {
  id: Generated<number>;
  request_id: string;
  /** Who rated; the owner may rate the answers of others. */
  principal_id: string;
  at_ms: number;
  /** As it was given: `up`, `down`, `1` to `5`. */
  given: string;
  /** 0 (useless) to 1 (good). */
  rating: number;
  comment: string | null;
  /** The scorer that was in use. Corrections of one mean nothing to another. */
  scorer: string;
  /** Who gave the answer, and what was predicted for its prompt; null where nobody knows. */
  backend: string;
  model: string;
  tier: ModelTier | null;
  score: number | null;
  suffices_small: number | null;
  suffices_large: number | null;
}

/** An answer beside the one that a stronger model gave to the same request, with nobody waiting for it. */
export interface ComparisonTable {
  id: Generated<number>;
  request_id: string;
  at_ms: number;
  cheap_backend: string;
  cheap_model: string;
  cheap_tier: ModelTier;
  strong_backend: string;
  strong_model: string;
  strong_tier: ModelTier;
  /** 0 (another answer) to 1 (the same). */
  agreement: number;
  /** What the agreement was seen by, such as `number`. */
  judged_by: string;
  /** Of the strong answer; null: unknown. */
  cost_nano_usd: number | null;
  scorer: string;
  score: number;
  suffices_small: number;
  suffices_large: number;
}

export interface CalibrationTable {
  version: number;
  at_ms: number;
  /** In words: from what it was made. */
  source: string;
  scorer: string;
  /** JSON: `Calibration`. */
  correction: string;
  /** JSON: how well the predictions did before and after; null for a version that goes back. */
  figures: string | null;
  /** The last rating that was there when it was made. */
  last_rating_id: number;
}
