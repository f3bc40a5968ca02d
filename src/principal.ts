/** Who asks, and what they may do. The person at the keyboard is one; every token and every OAuth subject is another. */

export const scopes = ['infer', 'read', 'operate'] as const;

/** `infer`: run prompts. `read`: see machines, costs and state. `operate`: launch and terminate machines. */
export type Scope = (typeof scopes)[number];

export interface Principal {
  /** `local`, a token's id (`tok_...`) or `oauth:SUBJECT`: what ledger and audit rows name. Never a secret. */
  readonly id: string;
  /** For people to read. */
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  /** The most it may spend on tokens in a period, besides the budgets that hold for all; null: only those. */
  readonly budget: { readonly limitNanoUsd: number; readonly per: 'day' | 'month' } | null;
  readonly requestsPerMinute: number | null;
}

/**
 * Whose name stands at calls that nobody asked for: those that compare an answer with a stronger model's. They are
 * paid from the budgets for all and from one of their own, never from that of the token that asked.
 */
export const shadowPrincipalId = 'shadow';

/** Whoever can start Tandem or reach its loopback port without tokens set up: the owner of the machine. */
export const localPrincipal: Principal = {
  id: 'local',
  name: 'local',
  scopes: new Set(scopes),
  budget: null,
  requestsPerMinute: null,
};
