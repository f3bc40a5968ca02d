import type { FastifyPluginAsync, FastifyRequest } from 'fastify';
import type { Backend, Health } from '../router/types.ts';
import type { Load } from './load.ts';
import type { Metrics } from './metrics.ts';

export interface StatusParts {
  metrics: Metrics;
  load: Load;
  backends(): readonly Backend[];
  healthOf(backend: string): Health;
  /** Throws when the ledger cannot be read. */
  checkLedger(): Promise<unknown>;
  /** Throws when the caller may not see inside. */
  requireRead(request: FastifyRequest): void;
}

/** For those who watch over the server: alive, ready, and what is going on inside. */
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
        backend: parts.backends().some(({ id, unusable }) => unusable === null && parts.healthOf(id).usable),
      };
      const ready = Object.values(checks).every(Boolean);
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'not_ready', checks });
    });
    app.get('/metrics', async (request, reply) => {
      parts.requireRead(request);
      return reply.type(parts.metrics.contentType).send(await parts.metrics.read());
    });
  };
}
