import type { AddressInfo } from 'node:net';
import fastify from 'fastify';
import { systemClock } from '../../src/clock.ts';
import { createLog } from '../../src/log.ts';
import { localPrincipal } from '../../src/principal.ts';
import { Redactor } from '../../src/redactor.ts';
import { checkHostAndOrigin } from '../../src/server/hosts.ts';
import { mcpOverHttp } from '../../src/server/mcp-http.ts';
import { createFixtureSession } from './fixtures.ts';

/** The suite's fixtures behind the very plugin and hook that `tandem serve` uses. */
export async function startConformanceServer(): Promise<{ url: string; close(): Promise<void> }> {
  const server = fastify();
  server.addHook('onRequest', checkHostAndOrigin({ allowedHosts: [], allowedOrigins: [] }));
  await server.register(
    mcpOverHttp({
      createSession: createFixtureSession,
      principalOf: () => localPrincipal,
      mayStay: async () => true,
      clock: systemClock,
      log: createLog('warn', new Redactor()),
    }),
  );
  await server.listen({ host: '127.0.0.1', port: 0 });
  const { port } = server.server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/mcp`, close: () => server.close() };
}
