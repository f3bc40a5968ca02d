/**
 * Money is integer nano-dollars: $1 per million tokens is 1,000 nano-dollars per token, so every list price is a
 * whole number and sums are exact up to nine million dollars. Dollars appear only at the edges.
 */

export const nanoPerUsd = 1_000_000_000;

const nanoPerCent = nanoPerUsd / 100;
const msPerMinute = 60_000;

export function usdToNano(usd: number): number {
  return Math.round(usd * nanoPerUsd);
}

/** Dollars for the edge: tool results and texts. `null` (unknown) stays `null`. */
export function nanoToUsd(nanoUsd: number): number;
export function nanoToUsd(nanoUsd: number | null): number | null;
export function nanoToUsd(nanoUsd: number | null): number | null {
  return nanoUsd === null ? null : nanoUsd / nanoPerUsd;
}

/** Lambda bills whole minutes; a part minute is counted as one (their rounding is not documented, this is the safe side). */
export function instanceCostNano(priceCentsPerHour: number, durationMs: number): number {
  return Math.round((billedMinutes(durationMs) * priceCentsPerHour * nanoPerCent) / 60);
}

/** What a whole hour costs. */
export function hourlyNano(priceCentsPerHour: number): number {
  return priceCentsPerHour * nanoPerCent;
}

export function billedMinutes(durationMs: number): number {
  return Math.ceil(Math.max(0, durationMs) / msPerMinute);
}

const wholeCents = new Intl.NumberFormat('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const threeDigits = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 3 });

/** `$12.30` from ten cents up, three significant digits below (`$0.0512`), `unknown` for null. */
export function formatUsd(nanoUsd: number | null): string {
  if (nanoUsd === null) return 'unknown';
  const usd = nanoUsd / nanoPerUsd;
  if (usd === 0) return '$0.00';
  return `$${(Math.abs(usd) >= 0.1 ? wholeCents : threeDigits).format(usd)}`;
}
