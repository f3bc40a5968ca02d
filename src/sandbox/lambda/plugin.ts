import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify';
import type { Account } from './account.ts';
import { auditRoutes } from './audit.ts';
import { filesystemRoutes } from './filesystems.ts';
import { firewallRoutes } from './firewall.ts';
import { createGate, refuseBareClient, refuseWhileDown } from './gate.ts';
import { instanceRoutes } from './instances.ts';
import { offerRoutes } from './offers.ts';
import { Refusal, writeRefusal } from './refusal.ts';
import type { Route } from './route.ts';
import { playScript } from './script.ts';
import { sshKeyRoutes } from './ssh-keys.ts';

export interface LoggedRequest {
  atMs: number;
  method: string;
  /** Below the mount point, without the query. */
  path: string;
  /** Null until answered, and for good when the sandbox hung up. */
  status: number | null;
}

/** Room for a cloud-init text beyond the limit, so that the API refuses it in its own words. */
const bodyLimitBytes = 8 * 1024 * 1024;

export function lambdaPlugin(account: Account, apiKey: string, requestLog: LoggedRequest[]): FastifyPluginAsync {
  return async (app) => {
    readEveryBodyAsJson(app);
    answerRefusals(app, account);
    guardEveryRequest(app, account, apiKey, requestLog);
    const rooms = [offerRoutes, instanceRoutes, sshKeyRoutes, filesystemRoutes, firewallRoutes, auditRoutes];
    for (const route of rooms.flatMap((routesOf) => routesOf(account))) addRoute(app, account, route);
  };
}

/** Whatever the content type says. An empty body is no body, even where it is announced as JSON. */
function readEveryBodyAsJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    '*',
    { parseAs: 'string', bodyLimit: bodyLimitBytes },
    async (_request: FastifyRequest, text: string) => {
      try {
        return text === '' ? undefined : JSON.parse(text);
      } catch {
        throw new Refusal('global/invalid-parameters', { message: 'The body is not JSON.' });
      }
    },
  );
}

function answerRefusals(app: FastifyInstance, account: Account): void {
  app.setNotFoundHandler(() => {
    throw new Refusal('global/not-found');
  });
  app.setErrorHandler<Error & { statusCode?: number }>((error, request, reply) => {
    if (error instanceof Refusal) return reply.send(writeRefusal(reply, error, newRequestId(account)));
    // What fastify itself refuses is a bad request; the rest is a bug in the sandbox.
    const isBadRequest = error.statusCode !== undefined && error.statusCode < 500;
    if (!isBadRequest) request.log.error(error);
    const code = isBadRequest ? 'global/invalid-parameters' : 'global/internal-error';
    return reply.send(writeRefusal(reply, new Refusal(code, { message: error.message }), newRequestId(account)));
  });
}

function guardEveryRequest(app: FastifyInstance, account: Account, apiKey: string, requestLog: LoggedRequest[]): void {
  const admit = createGate(account, apiKey);
  const entries = new WeakMap<FastifyRequest, LoggedRequest>();
  const closing = new AbortController();
  app.addHook('preClose', async () => closing.abort());

  app.addHook('onRequest', async (request, reply) => {
    const { method, headers } = request;
    const path = new URL(request.url, 'http://sandbox').pathname.slice(app.prefix.length);
    const entry: LoggedRequest = { atMs: account.clock.nowMs(), method, path, status: null };
    requestLog.push(entry);
    entries.set(request, entry);
    reply.headers({ 'x-tandem-sandbox': 'true', server: 'tandem-sandbox-lambda' });

    refuseWhileDown(account);
    refuseBareClient(headers['user-agent']);
    const scripted = await playScript(account, entry, 'before', closing.signal);
    if (scripted === 'hang up') {
      reply.hijack();
      request.raw.socket.destroy();
      return;
    }
    if (scripted) throw scripted;
    admit({ method, path, authorization: headers.authorization });
  });

  app.addHook('onSend', async (request, reply, payload) => {
    const entry = entries.get(request);
    if (!entry) return payload;
    const isSuccess = reply.statusCode < 300;
    const scripted = isSuccess ? await playScript(account, entry, 'afterCommit', closing.signal) : undefined;
    if (scripted === 'hang up') {
      request.raw.socket.destroy();
      return payload;
    }
    const sent = scripted ? writeRefusal(reply, scripted, newRequestId(account)) : payload;
    if (sent === '') reply.removeHeader('content-type');
    entry.status = reply.statusCode;
    return sent;
  });
}

function addRoute(app: FastifyInstance, account: Account, { method, path, handle }: Route): void {
  app.route<{ Params: { id?: string } }>({
    method,
    url: path,
    exposeHeadRoute: false,
    handler: async ({ params, query, body, ip, headers }) => {
      const client = { ip, userAgent: headers['user-agent'] ?? '' };
      const answer = handle({ id: params.id ?? '', query, body, client });
      return account.faults.shape.extraFields ? withExtraFields(answer) : answer;
    },
  });
}

/** Adds an unknown field to the envelope and to whatever has an id or a name, at any depth. Tables stay tables. */
function withExtraFields(value: unknown, isEnvelope = true): unknown {
  if (Array.isArray(value)) return value.map((item) => withExtraFields(item, false));
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).map(([name, field]) => [name, withExtraFields(field, false)]);
  const isNamed = 'id' in value || 'name' in value;
  return Object.fromEntries(isEnvelope || isNamed ? [...fields, ['sandbox_extra', { since: 'tomorrow' }]] : fields);
}

function newRequestId({ revision, ids }: Account): string | undefined {
  return revision === 'late' ? ids.hex('request') : undefined;
}
