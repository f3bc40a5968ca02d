import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions';
import type { Cancellation } from '../cancellation.ts';
import type { BackendKind } from '../config/index.ts';
import type { Capability, Prefill, Priority, Privacy, Tier } from '../config/schema.ts';
import type { Principal } from '../principal.ts';
import type { Price, Usage } from '../usage/prices.ts';

export type Message = ChatCompletionMessageParam;

/** A model as one backend offers it. */
export interface Model {
  id: string;
  tier: Tier;
  /** Null when nobody told; then no prompt is refused for its length. */
  contextWindowTokens: number | null;
  maxOutputTokens: number | null;
  price: Price | null;
  /** Whether the router may pick it on its own. The others answer only when named. */
  auto: boolean;
  /** What it takes besides text, all of it; null when nobody told, and then it is asked whatever a request needs. */
  supports: readonly Capability[] | null;
}

/** What is asked of a model server; each has its path below the server's base URL. */
export type Operation = 'chat' | 'completions' | 'embeddings';

/** Of a request that needs nothing but text, as nearly all do. */
export const needsNothing: readonly Capability[] = [];

/** What goes to a model server. */
export interface UpstreamCall {
  operation: Operation;
  /** The JSON body, as it is sent. */
  body: string;
  stream: boolean;
  /** How many answers to one prompt were asked for (`n`). */
  choices: number;
}

/** How long a server may be silent, in milliseconds from the start of the call. Its own limits hold besides. */
export interface CallLimits {
  firstByteMs: number;
  /** Until the whole answer; then `deadline_exceeded`. */
  wholeMs: number;
}

/**
 * A part of an answer: of a stream what arrived together, cut where an event ends; otherwise the whole answer.
 * `bytes` are the server's own, checked, without what only the caller of the gateway may not have asked for.
 */
export interface Piece {
  bytes: Buffer;
  /** The text of the first choice. */
  text: string;
  /** Everything else that was generated, as text to be counted: reasoning, tool calls, other choices. */
  otherText: string;
  finishReason: string | null;
  usage: ReportedUsage | null;
  /** The event that carries nothing but usage. */
  usageBytes: Buffer | null;
}

export interface ReportedUsage {
  usage: Usage | null;
  costUsd: number | null;
}

/** Takes the pieces in order. A promise means that it cannot take more until then. */
export type Sink = (piece: Piece) => Promise<void> | undefined;

/** A place where prompts can be run. Implementations throw AppErrors only. */
export interface Backend {
  readonly id: string;
  readonly kind: BackendKind;
  /** Why it cannot be used at all (no key), or null. */
  readonly unusable: string | null;
  /** How often a call that failed on its side is repeated before another candidate gets it. */
  readonly maxRetries: number;
  /** How many calls it gets at once; null: any number. */
  readonly maxConcurrentRequests: number | null;
  /** How it continues an answer that was begun elsewhere; null: not known that it can. */
  readonly prefill: Prefill | null;
  /** What is known now. */
  models(): readonly Model[];
  /** Brings `models()` up to date; undefined when nothing is due. Never throws. */
  refresh(): Promise<void> | undefined;
  /** Calls and hands every piece to `sink`. Returns when the answer is complete, and throws when it is not. */
  send(call: UpstreamCall, limits: CallLimits, signal: Cancellation, sink: Sink): Promise<void>;
}

/** The port through which backends reach the router; dedicated ones come and go. */
export interface BackendSource {
  list(): readonly Backend[];
  /** Those that are on their way; nothing when left out. */
  pending?(): readonly Pending[];
}

/** A dedicated backend that is to be there later: its machine is looked for, boots, or starts its server. */
export interface Pending {
  backend: string;
  model: string;
  state: 'waiting' | 'booting' | 'starting';
  /** Null: nobody knows. */
  readyInMs: number | null;
}

/** What a caller asks for. */
export interface ModelRequest {
  /** Of this request, in the ledger and in answers (see `newRequestId`). */
  id: string;
  operation: Operation;
  principal: Principal;
  /** What is scored and counted. Prompts of other operations stand here as a message of the user. */
  messages: readonly Message[];
  /** What a model has to take besides text. */
  needs: readonly Capability[];
  /** Tool definitions and schemas: counted, not scored. */
  definitions?: string | undefined;
  priority: Priority;
  /** In place of a priority: the share of the strongest models' quality that is to be reached at least cost, 0..1. */
  quality?: number | undefined;
  /** `auto`, `serverless`, `dedicated` or a backend's id. */
  backend: string;
  /** A model id, or `backend/model`. */
  model?: string | undefined;
  maxTokens?: number | undefined;
  /** How many answers (`n`). */
  choices: number;
  stream: boolean;
  /** Until the whole answer. */
  timeLimitMs: number;
  /** Whether what has arrived when the time is over will do as the answer, with `finish_reason` "deadline". */
  acceptsPart: boolean;
  /** The body for a candidate; with `begun`, one that makes it continue that text. */
  bodyFor(candidate: Candidate, begun: Begun | null): string;
}

/** An answer that broke off, to be continued. */
export interface Begun {
  text: string;
  prefill: Prefill;
}

/** Health of a backend as a decision sees it. */
export interface Health {
  usable: boolean;
  /** In words, when it is not. */
  reason: string | null;
}

/** Measured speed of a candidate: moving averages over its last answers. */
export interface Speed {
  firstTokenMs: number;
  tokensPerSecond: number;
}

export interface BackendSnapshot {
  id: string;
  kind: BackendKind;
  unusable: string | null;
  health: Health;
  callsUnderWay: number;
  maxConcurrentRequests: number | null;
  models: readonly Model[];
}

/** Everything a decision depends on besides the request: with equal snapshots, decisions are equal. */
export interface Snapshot {
  backends: readonly BackendSnapshot[];
  /** By `backend/model`. */
  speeds: ReadonlyMap<string, Speed>;
  /** Who may stand in for a model that was named: `routing.fallbacks`. */
  fallbacks: Readonly<Record<string, readonly string[]>>;
  /** Where prompts may go: `routing.privacy`. */
  privacy: Privacy;
  /** What the budget has left for one more call. */
  budgetLeftNanoUsd: number;
  /** How the quality that was asked for is reached. */
  quality?: QualityGoal | undefined;
  /** With a share of serverless answers to keep: from this score on dedicated ones come first, below it serverless. */
  dedicatedFromScore?: number | undefined;
}

/** A share of the strongest models' quality, and what reaches it on the requests of late. */
export interface QualityGoal {
  asked: number;
  /** How many requests it was worked out from. */
  requests: number;
  /** What a good answer has to be worth; null: there are too few requests to tell. */
  answerNanoUsd: number | null;
  /** The share that these requests would have reached, as the scorer predicts. */
  expected: number | null;
  /** Cost saved against always asking the strongest, 0..1; null: that costs nothing, or is not known. */
  saving: number | null;
}

export interface Feature {
  name: string;
  value: number;
  /** How much it moved the score; all contributions and the base add up to the score before it is bounded. */
  contribution: number;
}

export interface Complexity {
  /** 0 (any model does) to 1 (needs the strongest). */
  score: number;
  /** Chance that the answer of a small, and of a large model is good enough, 0..1. */
  suffices: Suffices;
  /** The same before a calibration by what was said of answers, where there is one. */
  predicted?: Suffices;
  features: readonly Feature[];
  /** `prior`: the prompt is unlike all that the scorer was trained on, so rules and length judged it. */
  basis?: 'trained' | 'prior';
  /** Expected gain of the large model over the small one, as a share of answers; only when trained. */
  gain?: number;
}

export interface Suffices {
  small: number;
  large: number;
}

/** Rates how much model a prompt needs. Pure, and fast enough to run on every request. */
export type Scorer = (messages: readonly Message[]) => Complexity;

export interface Candidate {
  backend: string;
  kind: BackendKind;
  model: string;
  tier: Tier;
  price: Price | null;
  /** `chosen`, `fallback` (in this order), `last_resort` (unhealthy, tried when nothing else is left) or `excluded`. */
  verdict: 'chosen' | 'fallback' | 'last_resort' | 'excluded';
  /** What excluded it, or what is wrong with its backend; null: nothing. `reasonOf` says it all. */
  note: string | null;
  /** Whether it is left alone because its GPU is kept for complex and latency-critical work. */
  spared: boolean;
  /** What excluded it, or null. */
  constraint:
    | 'backend'
    | 'privacy'
    | 'key'
    | 'capability'
    | 'context_window'
    | 'output_limit'
    | 'budget'
    | 'load'
    | null;
  /** Chance that this model's answer is good enough, 0..1, as the score predicts it. */
  suitability: number;
  maxTokens: number;
  predictedCostNanoUsd: number | null;
  /** The most it can cost; what the budget reserves. */
  worstCostNanoUsd: number | null;
  predictedLatencyMs: number;
  /** What it is expected to cost in money, in a place on a GPU that is kept for others, and in waiting. */
  burdenNanoUsd: number;
  /** What the answer is worth less what it costs in money and waiting, in nano-dollars: the rank. */
  valueNanoUsd: number;
}

/** Plain data: it is made for every request, and read by people now and then (`whyOf`). */
export interface Decision {
  /** What was asked for by name. */
  asked: { backend: string; model: string | undefined };
  complexity: Complexity;
  priority: Priority;
  quality: QualityGoal | null;
  dedicatedFromScore: number | null;
  inputTokens: number;
  expectedOutputTokens: number;
  /** Ranked: those that will be tried, in order, then the excluded ones. */
  candidates: readonly Candidate[];
  /** What is expected of asking a stronger model after the first, where that may happen. */
  cascade?: CascadePlan | undefined;
  /** Dedicated backends on their way, where a serverless one answers until then. */
  pending?: readonly Pending[];
}

/** A cheap model is asked, its answer checked, and a stronger one asked where that pays. */
export interface CascadePlan {
  first: Candidate;
  next: Candidate;
  /** Share of such requests that go on to `next`; null: not known of answers to this kind of prompt. */
  escalates: number | null;
  /** Of both together; null: unknown. */
  expectedCostNanoUsd: number | null;
}

export function candidateName(candidate: { backend: string; model: string }): string {
  return `${candidate.backend}/${candidate.model}`;
}
