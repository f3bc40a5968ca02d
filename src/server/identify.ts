import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Principal, Scope } from '../principal.ts';
import { requireScope } from '../scope.ts';
import type { Access } from './access.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; null until `identify` has run, and on routes that are for everybody. */
    principal: Principal | null;
  }
}

const forwardingHeaders = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'via'];

/** A hook that lets nobody through whom `access` does not know. */
export function identify(access: Access) {
  return async (request: FastifyRequest): Promise<void> => {
    const { authorization, host, origin } = request.headers;
    const isForwarded = forwardingHeaders.some((name) => request.headers[name] !== undefined);
    request.principal = await access.authenticate({ authorization, ip: request.ip, host, origin, isForwarded });
  };
}

export function principalOf({ principal, url }: FastifyRequest): Principal {
  if (principal) return principal;
  throw new Error(`${url} is reached without a hook that says who asks`);
}

/** A hook for routes that need a scope. After `identify`. */
export function needScope(scope: Scope) {
  return (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void) => {
    const principal = principalOf(request);
    if (principal.scopes.has(scope)) return done();
    try {
      requireScope(principal, scope, `${request.method} ${request.url.split('?')[0]}`);
    } catch (error) {
      done(error as Error);
    }
  };
}
