import { createHash } from 'node:crypto';

export interface Ids {
  /** 32 lower-case hex digits. */
  hex(kind: string): string;
  uuid(kind: string): string;
}

/**
 * Each id is a hash of the seed, its kind and how many of that kind came before, so that the ids of one kind do not
 * depend on the traffic of another: a request more or less does not rename the instances.
 */
export function createIds(seed: number): Ids {
  const issuedByKind = new Map<string, number>();

  const hex = (kind: string): string => {
    const issued = issuedByKind.get(kind) ?? 0;
    issuedByKind.set(kind, issued + 1);
    return createHash('sha256').update(`${seed}/${kind}/${issued}`).digest('hex').slice(0, 32);
  };

  return {
    hex,
    // The fixed digits mark version 4, without which strict validators refuse it.
    uuid: (kind) => hex(kind).replace(/^(.{8})(.{4}).(.{3}).(.{3})/, '$1-$2-4$3-8$4-'),
  };
}

/** A number in [0, 1) that looks random and is always the same for the same id. */
export function fractionOf(id: string): number {
  return Number.parseInt(id.slice(0, 8), 16) / 2 ** 32;
}
