import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions';
import type { BackendKind } from '../config/index.ts';
import type { Priority, Tier } from '../config/schema.ts';
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
}

/** What goes to a model server. */
export interface ChatCall {
  model: string;
  messages: readonly Message[];
  maxTokens: number;
  temperature?: number | undefined;
}

/** The pieces of one streamed answer, in the order in which they arrive. `finish` is what makes it complete. */
export type ChatEvent =
  | { type: 'text'; text: string }
  | { type: 'finish'; reason: string }
  | { type: 'usage'; usage: Usage | null; costUsd: number | null };

/** A place where prompts can be run. Implementations throw AppErrors only. */
export interface Backend {
  readonly id: string;
  readonly kind: BackendKind;
  /** Why it cannot be used at all (no key), or null. */
  readonly unusable: string | null;
  /** The longest a call may take, from start to last byte of silence, is bounded by these two. */
  readonly timeoutMs: number;
  /** What is known now. */
  models(): readonly Model[];
  /** Brings `models()` up to date where that is cheap or due. Never throws. */
  refresh(signal: AbortSignal): Promise<void>;
  chat(call: ChatCall, timeoutMs: number, signal: AbortSignal): AsyncIterable<ChatEvent>;
}

/** The port through which backends reach the router; dedicated ones come and go. */
export interface BackendSource {
  list(): readonly Backend[];
}

/** What a caller asks for. */
export interface ChatRequest {
  messages: readonly Message[];
  priority: Priority;
  /** `auto`, `serverless`, `dedicated` or a backend's id. */
  backend: string;
  /** A model id, or `backend/model`. */
  model?: string | undefined;
  maxTokens?: number | undefined;
  temperature?: number | undefined;
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
  models: readonly Model[];
}

/** Everything a decision depends on besides the request: with equal snapshots, decisions are equal. */
export interface Snapshot {
  backends: readonly BackendSnapshot[];
  /** By `backend/model`. */
  speeds: ReadonlyMap<string, Speed>;
  /** What the budget has left for one more call. */
  budgetLeftNanoUsd: number;
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
  features: readonly Feature[];
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
  reason: string;
  /** What excluded it, or null. */
  constraint: 'backend' | 'key' | 'context_window' | 'output_limit' | 'budget' | null;
  /** Chance that this model's answer is good enough, 0..1, as the score predicts it. */
  suitability: number;
  maxTokens: number;
  predictedCostNanoUsd: number | null;
  /** The most it can cost; what the budget reserves. */
  worstCostNanoUsd: number | null;
  predictedLatencyMs: number;
  /** What the answer is worth less what it costs in money and waiting, in nano-dollars: the rank. */
  valueNanoUsd: number;
}

export interface Decision {
  complexity: Complexity;
  priority: Priority;
  inputTokens: number;
  expectedOutputTokens: number;
  /** Ranked: those that will be tried, in order, then the excluded ones. */
  candidates: readonly Candidate[];
  why: string;
}

export function candidateName(candidate: { backend: string; model: string }): string {
  return `${candidate.backend}/${candidate.model}`;
}
