import { AppError } from './errors.ts';
import type { Principal, Scope } from './principal.ts';

/** Throws `forbidden`, with the scope that is missing, when the principal may not do `what` (a tool or a route). */
export function requireScope(principal: Principal, scope: Scope, what: string): void {
  if (principal.scopes.has(scope)) return;
  const has = [...principal.scopes].join(', ') || 'none';
  throw new AppError(
    'forbidden',
    `${what} needs the scope ${scope}; "${principal.name}" has ${has}. Nothing was done.`,
    { next: `Come with a token that has it: tandem token create --name NAME --scope ${scope}`, scope },
  );
}
