import { AppError } from '../errors.ts';
import type { LeaseTerms } from '../usage/leases.ts';
import type { Tag } from './schema.ts';

/** What the tags of a machine say to anyone with the key, also when the ledger is lost: whose it is, and its hard end. */
const managedTag = { key: 'managed-by', value: 'tandem' };
/** How a machine says for which intent Tandem launched it. */
export const intentTag = 'tandem-intent';
const capTag = 'tandem-lease-cap';
const deploymentTag = 'tandem-deployment';

const hourMs = 3_600_000;
/** What leases.capHours may be at most: no Tandem has set a cap that is further away. */
const longestCapMs = 720 * hourMs;

export type { LeaseTerms };

export interface LeaseRules {
  /** What a launch gets that does not ask. */
  defaultMs: number;
  /** The longest that a machine may live, counted from its launch. */
  capMs: number;
  /** What becomes of machines that bear our tags and that no row knows. */
  orphans: 'adopt' | 'terminate';
}

/** What `hours` asks for; the default when it does not. Throws `invalid_input` above the cap. */
export function leaseAsked(
  hours: number | undefined,
  { defaultMs, capMs }: LeaseRules,
): { leaseMs: number; capMs: number } {
  if (hours === undefined) return { leaseMs: Math.min(defaultMs, capMs), capMs };
  const leaseMs = Math.round(hours * hourMs);
  if (leaseMs <= capMs) return { leaseMs, capMs };
  throw new AppError(
    'invalid_input',
    `No lease is longer than ${inHours(capMs)} h; you asked for ${inHours(leaseMs)} h.`,
    {
      next: 'Ask for less, or raise leases.capHours in tandem.yaml.',
    },
  );
}

/**
 * A lease that ends `hours` from now. The cap of one that has it stays; others get one. Throws `invalid_input` when it
 * would go beyond the cap.
 */
export function leaseFromNow(hours: number, old: LeaseTerms | null, rules: LeaseRules, nowMs: number): LeaseTerms {
  const capAtMs = old?.capAtMs ?? nowMs + rules.capMs;
  const expiresAtMs = nowMs + Math.round(hours * hourMs);
  if (expiresAtMs <= capAtMs) return { expiresAtMs, capAtMs };
  const most = Math.floor(((capAtMs - nowMs) / hourMs) * 10) / 10;
  throw new AppError(
    'invalid_input',
    `It may live until ${inUtc(capAtMs)} at most, in ${inHours(capAtMs - nowMs)} h: that was set when it was launched.`,
    {
      next: `${most > 0 ? `Give hours: ${most} or less. ` : ''}To go on beyond it, launch another instance; leases.capHours in tandem.yaml is for later launches.`,
    },
  );
}

/** What a machine nobody knew gets: no more than its tag allows. */
export function leaseOfOrphan(tags: readonly Tag[], rules: LeaseRules, nowMs: number): LeaseTerms {
  const named = capOf(tags);
  const tagged = named !== null && named <= nowMs + longestCapMs ? named : null;
  const capAtMs = tagged ?? nowMs + rules.capMs;
  // Another Tandem, on another computer, may keep it and have renewed it: only its cap is certain.
  const wantedMs = tagged ?? nowMs + rules.defaultMs;
  return { expiresAtMs: Math.min(capAtMs, rules.orphans === 'terminate' ? nowMs : wantedMs), capAtMs };
}

/** When Tandem launched a machine, by the cap in its tags, if `leases.capHours` was then what it is now; else null. */
export function launchedAt(tags: readonly Tag[], { capMs }: LeaseRules, nowMs: number): number | null {
  const launchedAtMs = (capOf(tags) ?? Number.NaN) - capMs;
  return launchedAtMs <= nowMs && launchedAtMs >= nowMs - longestCapMs ? launchedAtMs : null;
}

/** When the lease's last fifth begins: time to say that it ends. */
export function warnAtMs(startMs: number, endMs: number): number {
  return startMs + 0.8 * (endMs - startMs);
}

export function tagsOf(launch: { intentId: string; deploymentId: string | null; capAtMs: number }): Tag[] {
  return [
    managedTag,
    { key: intentTag, value: launch.intentId },
    { key: capTag, value: new Date(launch.capAtMs).toISOString().replace(/\.\d+Z$/, 'Z') },
    ...(launch.deploymentId === null ? [] : [{ key: deploymentTag, value: launch.deploymentId }]),
  ];
}

export function isOurs(tags: readonly Tag[]): boolean {
  return tags.some(({ key, value }) => key === managedTag.key && value.trim() === managedTag.value);
}

export function intentIdOf(tags: readonly Tag[]): string | undefined {
  return tags.find(({ key }) => key === intentTag)?.value;
}

/** The hard end that the tags name: ISO 8601, UTC where they name no zone. Null when there is none, or nobody can read it. */
export function capOf(tags: readonly Tag[]): number | null {
  const text = tags.find(({ key }) => key === capTag)?.value.trim();
  if (text === undefined || !/^\d{4}-\d\d-\d\d/.test(text)) return null;
  const hasZone = /(?:[zZ]|[+-]\d\d:?\d\d)$/.test(text) || text.length === 10;
  return Date.parse(hasZone ? text : `${text}Z`) || null;
}

/** `2026-11-24 16:00 UTC`. */
export function inUtc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

function inHours(ms: number): number {
  return Math.max(0, Math.floor((ms / hourMs) * 100) / 100);
}
