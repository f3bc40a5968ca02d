import type { FastifyPluginAsync } from 'fastify';
import type { Backend, Health } from '../router/types.ts';
import type { Load } from './load.ts';

export interface StatusParts {
  load: Load;
  backends(): readonly Backend[];
  healthOf(backend: string): Health;
  /** Throws when the ledger cannot be read. */
  checkLedger(): Promise<unknown>;
}

/** For whoever watches over the process, without a token: is it alive, and can it take requests. */
export function status(parts: StatusParts): FastifyPluginAsync {
  return async (app) => {
    app.get('/healthz', async () => ({ status: 'ok' }));
    app.get('/readyz', async (_request, reply) => {
      const checks = {
        serving: !parts.load.isStopping,
        ledger: await parts.checkLedger().then(
          () => true,
          () => false,
        ),
        // Without any, MCP still lists and launches machines.
        backend:
          parts.backends().length === 0 ||
          parts.backends().some(({ id, unusable }) => unusable === null && parts.healthOf(id).usable),
      };
      const ready = Object.values(checks).every(Boolean);
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'not_ready', checks });
    });
  };
}
