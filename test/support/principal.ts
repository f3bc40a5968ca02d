import type { Principal, Scope } from '../../src/principal.ts';

/** Somebody who came in with a token of these scopes. */
export function holderOf(...scopes: Scope[]): Principal {
  const name = scopes.join('-') || 'nothing';
  return { id: `tok_${name}`, name, scopes: new Set(scopes), budget: null, requestsPerMinute: null };
}
