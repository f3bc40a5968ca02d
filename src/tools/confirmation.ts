import { randomBytes } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';

const validMs = 10 * 60_000;

/** A question to the person and what they said; null when their client cannot be asked. */
export type Ask = (question: string) => Promise<'accept' | 'decline' | null>;

export interface Proposal<Plan> {
  tool: string;
  /** What the confirmation is for; it holds for exactly this. */
  subject: unknown;
  token: string | undefined;
  /** Makes the plan that is shown. Not called when a valid token comes with the call. */
  plan(): Promise<Plan>;
  question(plan: Plan): string;
}

export type Confirmed<Plan> =
  | { status: 'confirmed'; plan: Plan }
  | { status: 'confirm_required'; plan: Plan; token: string }
  | { status: 'declined'; plan: Plan };

export type Confirm = <Plan>(proposal: Proposal<Plan>) => Promise<Confirmed<Plan>>;

/** What a token holds for. */
interface About {
  principalId: string;
  tool: string;
  subject: string;
}

interface Pending extends About {
  plan: unknown;
  expiresAtMs: number;
  used: boolean;
}

/**
 * Tokens of plans that wait for a yes. Each is good once, for the same principal, tool and subject, for ten minutes.
 */
export class Confirmations {
  readonly #clock: Clock;
  readonly #pending = new Map<string, Pending>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** For one call of one principal: asks through `ask` where the client can, else works with tokens. */
  confirmWith(ask: Ask, principalId: string): Confirm {
    return async ({ tool, subject, token, plan: makePlan, question }) => {
      const about = { principalId, tool, subject: canonical(subject) };
      if (token !== undefined) return { status: 'confirmed', plan: this.#redeem(token, about) as never };
      const plan = await makePlan();
      const answer = await ask(question(plan));
      if (answer === 'accept') return { status: 'confirmed', plan };
      if (answer === 'decline') return { status: 'declined', plan };
      return { status: 'confirm_required', plan, token: this.#issue(about, plan) };
    };
  }

  #issue(about: About, plan: unknown): string {
    const nowMs = this.#clock.nowMs();
    for (const [token, pending] of this.#pending)
      if (nowMs > pending.expiresAtMs + validMs) this.#pending.delete(token);
    const token = randomBytes(16).toString('base64url');
    this.#pending.set(token, { ...about, plan, expiresAtMs: nowMs + validMs, used: false });
    return token;
  }

  #redeem(token: string, { principalId, tool, subject }: About): unknown {
    const refuse = (message: string): never => {
      throw new AppError('confirmation_invalid', `${message} Nothing was done.`, {
        next: `Call ${tool} without confirm_token, show the new plan to the person, and confirm with its token.`,
      });
    };
    const pending = this.#pending.get(token);
    // Whose it is, and that it is at all, is nothing to tell others.
    if (!pending || pending.principalId !== principalId || pending.tool !== tool)
      return refuse('This confirm_token is not known here.');
    if (pending.used) return refuse('This confirm_token was used already.');
    if (this.#clock.nowMs() > pending.expiresAtMs) return refuse('This confirm_token has expired.');
    if (pending.subject !== subject) return refuse('This confirm_token was given for other arguments.');
    pending.used = true;
    return pending.plan;
  }
}

/** JSON with sorted keys and without undefined: equal for equal arguments, whatever their order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([one], [other]) => (one < other ? -1 : 1)))
      : inner,
  );
}
